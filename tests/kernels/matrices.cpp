// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/matrices.h"

#include <algorithm>

#include "runtime/kernels/kernel_weight.h"

namespace edgeq {

std::vector<float> random_floats(int64_t count, Random& random) {
  std::vector<float> values(size_t(count), 0);
  for (auto& value : values) value = float(random.normal());
  return values;
}

PackedQuantized::PackedQuantized(const QuantizedTensor& tensor, int64_t copies)
    : scheme_(tensor.scheme),
      rows_(tensor.rows),
      cols_(tensor.cols),
      shape_(panel_shape(tensor.scheme, tensor.rows, tensor.cols)),
      packed_(size_t(copies * bytes())) {
  for (int64_t copy = 0; copy < copies; ++copy)
    pack_panels(tensor, std::span(packed_).subspan(size_t(copy * bytes()), size_t(bytes())));
}

KernelWeight PackedQuantized::kernel_weight(int64_t copy) const {
  return edgeq::kernel_weight(scheme_, rows_, cols_, packed_.data() + copy * bytes());
}

PackedFloat::PackedFloat(const Tensor& matrix, DType dtype)
    : dtype_(dtype),
      cols_(matrix.cols()),
      shape_(float_panel_shape(dtype, matrix.rows(), matrix.cols())),
      packed_(size_t(shape_.panels * shape_.bytes)) {
  pack_float_panels(from_f32(matrix, dtype).view(), packed_);
}

KernelFloatWeight PackedFloat::kernel_weight() const {
  return {.panels = reinterpret_cast<const unsigned char*>(packed_.data()),
          .panel_bytes = shape_.bytes,
          .cols = cols_,
          .element = dtype_ == DType::f32   ? 0
                     : dtype_ == DType::f16 ? 1
                                            : 2};
}

QuantizedInput::QuantizedInput(const KernelTable& table, const std::vector<float>& x, int64_t tokens_in,
                               int64_t cols, int64_t group)
    : tokens(tokens_in),
      blocks((cols + kPanelBlock - 1) / kPanelBlock),
      codes(size_t(tokens * blocks * kPanelBlock)),
      scales(size_t(tokens * blocks)),
      sums(size_t(tokens * blocks)) {
  const int64_t padded = blocks * kPanelBlock;
  std::vector<float> row(size_t(padded), 0.0f);
  for (int64_t t = 0; t < tokens; ++t) {
    std::copy_n(x.begin() + t * cols, cols, row.begin());
    table.quantize_row(row.data(), padded, group == 0 ? padded : group, codes.data() + t * padded,
                       scales.data() + t * blocks, sums.data() + t * blocks);
  }
}

KernelInput QuantizedInput::slice(int64_t first, int64_t count) const {
  return {codes.data() + first * blocks * kPanelBlock, scales.data() + first * blocks,
          sums.data() + first * blocks, count};
}

double QuantizedInput::value(int64_t token, int64_t col) const {
  return double(codes[size_t(token * blocks * kPanelBlock + col)]) *
         double(scales[size_t(token * blocks + col / kPanelBlock)]);
}

}  // namespace edgeq
