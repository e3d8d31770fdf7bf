// SPDX-License-Identifier: Apache-2.0
// A quantizer rounds a float weight to the codes of a scheme. Stateless, const, no input or output;
// thread-safe. Rows are independent of each other: matrices that read the same input may be stacked into one
// target, which spares the work that depends on the input alone (GPTQ's factorization).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/stats.h"
#include "core/options.h"
#include "core/quantized_tensor.h"

namespace edgeq {

// What happened to one site besides its codes: numbers for the report.
struct QuantizeNotes {
  double damping = 0;  // final damping relative to the mean of the Hessian's diagonal; 0 when none was used
  int damping_raises = 0;    // how often it had to be raised until the factorization succeeded
  int64_t dead_columns = 0;  // inputs that were zero in all of calibration
};

struct QuantizeResult {
  QuantizedTensor weight;
  QuantizeNotes notes;
};

class Quantizer {
 public:
  virtual ~Quantizer() = default;
  // Need flags: statistics that quantize() reads.
  virtual unsigned needs() const = 0;
  // target [out, in]; stats of its input (width in). Throws Error when the group does not divide `in`, when a
  // weight is not finite, when a statistic that needs() names is missing.
  virtual QuantizeResult quantize(MatrixView<const float> target, const InputStats& stats) const = 0;
};

}  // namespace edgeq
