// SPDX-License-Identifier: Apache-2.0
#include "runtime/packed_matrix.h"

#include <algorithm>

#include "core/error.h"
#include "core/half.h"
#include "formats/panels.h"
#include "runtime/kernels/kernel_weight.h"

namespace edgeq {
namespace {

constexpr int32_t kElementF32 = 0, kElementF16 = 1, kElementBf16 = 2;

int32_t element_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return kElementF32;
    case DType::f16: return kElementF16;
    case DType::bf16: return kElementBf16;
    default: break;
  }
  EDGEQ_CHECK(false, "float panels are f32, f16 or bf16");
  return kElementF32;
}

// The narrowest type that holds every value of an f32 tensor exactly.
DType exact_dtype(const Tensor& tensor) {
  const float* values = tensor.f32();
  bool bf16 = true, f16 = true;
  for (int64_t i = 0; i < tensor.size() && (bf16 || f16); ++i) {
    bf16 = bf16 && bf16_to_f32(f32_to_bf16(values[i])) == values[i];
    f16 = f16 && f16_to_f32(f32_to_f16(values[i])) == values[i];
  }
  return bf16 ? DType::bf16 : f16 ? DType::f16 : DType::f32;
}

}  // namespace

PackedMatrix::PackedMatrix(const PackedWeight& weight, const KernelTable& kernels)
    : kernels_(&kernels),
      quantized_(weight.scheme.has_value()),
      input_scale_(weight.input_scale),
      rows_(weight.rows),
      cols_(weight.cols) {
  if (!quantized_) {
    const PanelShape shape = float_panel_shape(*weight.dtype, rows_, cols_);
    panels_ = shape.panels;
    panel_bytes_ = shape.bytes;
    float_weight_ = {reinterpret_cast<const unsigned char*>(weight.panels.data()), shape.bytes, cols_,
                     element_of(*weight.dtype)};
    return;
  }
  const QuantScheme& scheme = *weight.scheme;
  const PanelShape shape = panel_shape(scheme, rows_, cols_);
  panels_ = shape.panels;
  panel_bytes_ = shape.bytes;
  weight_ = kernel_weight(scheme, rows_, cols_, weight.panels.data());
}

PackedMatrix::PackedMatrix(const Tensor& matrix, const KernelTable& kernels)
    : kernels_(&kernels), rows_(matrix.rows()), cols_(matrix.cols()) {
  const DType dtype = exact_dtype(matrix);
  const PanelShape shape = float_panel_shape(dtype, rows_, cols_);
  panels_ = shape.panels;
  panel_bytes_ = shape.bytes;
  owned_ = AlignedBuffer<std::byte>(bytes());
  const std::span<std::byte> packed(owned_.data(), size_t(bytes()));
  if (dtype == DType::f32) {
    pack_float_panels(matrix.view(), packed);
  } else {
    pack_float_panels(from_f32(matrix, dtype).view(), packed);
  }
  float_weight_ = {reinterpret_cast<const unsigned char*>(owned_.data()), shape.bytes, cols_,
                   element_of(dtype)};
}

void PackedMatrix::multiply(const Activation& x, PanelRange range, float* y, int64_t y_stride,
                            float* scratch) const noexcept {
  if (!quantized_) {
    kernels_->float_matmul(float_weight_, x.values, x.stride, x.tokens, y, y_stride, range.begin, range.end);
    return;
  }
  if (x.codes.codes != nullptr) {
    kernels_->matmul(weight_, x.codes, y, y_stride, range.begin, range.end);
    return;
  }
  const KernelFloatWeight decoded{reinterpret_cast<const unsigned char*>(scratch), 0, cols_, kElementF32};
  for (int64_t panel = range.begin; panel < range.end; ++panel) {
    kernels_->decode_panel(weight_, panel, scratch);
    kernels_->float_matmul(decoded, x.values, x.stride, x.tokens, y + panel * kPanelRows, y_stride, 0, 1);
  }
}

void PackedMatrix::read_row(int64_t row, float* scratch, float* out) const noexcept {
  const int64_t panel = row / kPanelRows, lane = row % kPanelRows;
  if (quantized_) {
    kernels_->decode_panel(weight_, panel, scratch);
    for (int64_t c = 0; c < cols_; ++c) out[c] = scratch[c * kPanelRows + lane];
    return;
  }
  const unsigned char* elements = float_weight_.panels + panel * panel_bytes_;
  const auto element = [&]<class T>(T, int64_t c) {
    T value;
    __builtin_memcpy(&value, elements + (c * kPanelRows + lane) * int64_t(sizeof(T)), sizeof(T));
    return value;
  };
  for (int64_t c = 0; c < cols_; ++c) {
    switch (float_weight_.element) {
      case kElementF32: out[c] = element(float{}, c); break;
      case kElementF16: out[c] = f16_to_f32(element(uint16_t{}, c)); break;
      default: out[c] = bf16_to_f32(element(uint16_t{}, c)); break;
    }
  }
}

}  // namespace edgeq
