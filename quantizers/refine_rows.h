// SPDX-License-Identifier: Apache-2.0
// What refiners share: rows in parallel, the gradient of each, and the promise that none gets worse.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "calibration/stats.h"
#include "core/quantized_tensor.h"
#include "quantizers/grid.h"

namespace edgeq {

// One row on its way.
struct RefinedRow {
  std::span<float> values;    // [d] what the codes mean; need not be kept in step with them
  std::span<float> gradient;  // [d] (target - values) H'; likewise
  std::vector<uint8_t> codes;
  std::vector<GroupGrid> grids;
};

// Changes codes or grids of the row. damped: H' [d, d].
using RefineRow = std::function<void(const QuantScheme&, MatrixView<const float> damped, RefinedRow&)>;

// Applies `refine` to every row and keeps what it did where that lowers the row's error. The same result for
// any number of threads.
void refine_rows(QuantizedTensor& q, MatrixView<const float> target, const InputStats& stats,
                 const RefineRow& refine);

}  // namespace edgeq
