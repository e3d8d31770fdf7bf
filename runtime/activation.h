// SPDX-License-Identifier: Apache-2.0
// What a linear layer reads: rows of floats, and the same rows as int8 codes for quantized weights.
#pragma once

#include <cstdint>

#include "models/activations.h"
#include "runtime/aligned_buffer.h"
#include "runtime/kernels/kernel_table.h"

namespace edgeq {

// A view of `tokens` rows. Without codes (codes.codes == nullptr) quantized weights are decoded to float.
struct Activation {
  const float* values = nullptr;
  int64_t stride = 0;  // floats from one token to the next
  int64_t tokens = 0, cols = 0;
  KernelInput codes{};
};

// Room for the rows of one stage after another. Rows are written by different threads.
class ActivationBuffer {
 public:
  ActivationBuffer() = default;
  ActivationBuffer(int64_t max_tokens, int64_t max_cols);

  float* row(int64_t token) noexcept { return values_.data() + token * stride_; }
  // Codes of a row whose first `cols` floats are written. Not for Activations::f32. input_scale: of
  // int8_static.
  void quantize(const KernelTable& kernels, Activations mode, float input_scale, int64_t token,
                int64_t cols) noexcept;
  Activation view(int64_t tokens, int64_t cols, bool with_codes) const noexcept;

 private:
  int64_t stride_ = 0;
  AlignedBuffer<float> values_, scales_;
  AlignedBuffer<int8_t> codes_;
  AlignedBuffer<int32_t> sums_;
};

}  // namespace edgeq
