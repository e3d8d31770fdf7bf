// SPDX-License-Identifier: Apache-2.0
// A weight in layout r16k4 (formats/panels.h), as the layers see it: how it is stored, float or quantized by
// whatever scheme, is known here and nowhere above.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "models/packed_model.h"
#include "runtime/activation.h"
#include "runtime/aligned_buffer.h"
#include "runtime/kernels/kernel_table.h"

namespace edgeq {

// Panels [begin, end): what one thread computes of a matrix.
struct PanelRange {
  int64_t begin = 0, end = 0;
};

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Looks into the mapped file, which has to live as long.
  PackedMatrix(const PackedWeight& weight, const KernelTable& kernels);
  // Owns its panels: `matrix` (f32) repacked as bf16 or f16 where all values are exact in it, else as f32.
  PackedMatrix(const Tensor& matrix, const KernelTable& kernels);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t panels() const { return panels_; }
  int64_t panel_bytes() const { return panel_bytes_; }
  int64_t bytes() const { return panels_ * panel_bytes_; }
  bool quantized() const { return quantized_; }
  float input_scale() const { return input_scale_; }  // of Activations::int8_static; 0: none

  // y[t * y_stride + row] = weight * x[t] for the rows of a range of panels, also for the rows that pad the
  // last one. `scratch` is the thread's own: 16 * cols() floats.
  void multiply(const Activation& x, PanelRange range, float* y, int64_t y_stride,
                float* scratch) const noexcept;
  // Dequantizes one row; out: cols() floats.
  void read_row(int64_t row, float* scratch, float* out) const noexcept;

 private:
  const KernelTable* kernels_ = nullptr;
  bool quantized_ = false;
  float input_scale_ = 0;
  int64_t rows_ = 0, cols_ = 0, panels_ = 0, panel_bytes_ = 0;
  KernelWeight weight_{};             // when quantized
  KernelFloatWeight float_weight_{};  // when not
  AlignedBuffer<std::byte> owned_;
};

// Shares the panels of matrices that read the same input among threads, evenly by bytes. The ranges of thread
// 0, 1, ... follow each other and cover everything once.
template <size_t N>
std::array<PanelRange, N> share_panels(const std::array<const PackedMatrix*, N>& matrices, int thread,
                                       int threads) {
  int64_t total = 0;
  for (const PackedMatrix* m : matrices) total += m->bytes();
  // A panel belongs to the thread in whose part of the bytes it starts.
  const int64_t low = total * thread / threads, high = total * (thread + 1) / threads;
  std::array<PanelRange, N> ranges;
  int64_t start = 0;
  for (size_t i = 0; i < N; ++i) {
    const PackedMatrix& m = *matrices[i];
    const auto first_from = [&](int64_t byte) {
      const int64_t past = byte - start;
      return past <= 0 ? 0 : std::min(m.panels(), (past + m.panel_bytes() - 1) / m.panel_bytes());
    };
    ranges[i] = {first_from(low), first_from(high)};
    start += m.bytes();
  }
  return ranges;
}

}  // namespace edgeq
