// SPDX-License-Identifier: Apache-2.0
// Codes moved from one grid to another without choosing them again, so that nothing is lost twice:
//   wider codes     the zero point moves along: code - mid stays
//   finer groups    scales repeat
//   sym -> asym     zero = mid
//   sym -> offset   offset = -mid * scale
//   asym -> offset  offset = -zero * scale
//   two levels -> flat f32   the products, which f32 holds exactly
// What the new grid stores more coarsely (f32 scales in f16, the offset of an asymmetric group) is rounded
// once. Whether a weight changed is therefore measured and not argued.
#pragma once

#include <string>

#include "core/quantized_tensor.h"
#include "models/coded_model.h"

namespace edgeq {

// Why codes of `from` cannot be kept on the grid `to` in rows of `cols` columns; "" when they can.
std::string carry_obstacle(const QuantScheme& from, const QuantScheme& to, int64_t cols);
// Whether keeping them may round scales or offsets.
bool carry_may_round(const QuantScheme& from, const QuantScheme& to);
// The same codes on the grid `to`; there is no obstacle. Throws Error when a scale or offset is beyond what
// the new store holds: it became 0 or infinite.
QuantizedTensor carry(const QuantizedTensor& from, const QuantScheme& to);

// Of |a - b| over all weights of two matrices of one shape; 0: every weight is the same number (0 and -0
// are).
double largest_difference(const CodedWeight& a, const CodedWeight& b);

}  // namespace edgeq
