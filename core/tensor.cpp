// SPDX-License-Identifier: Apache-2.0
#include "core/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <new>

#include "core/error.h"
#include "core/half.h"

namespace edgeq {
namespace {

constexpr std::align_val_t kAlignment{64};

constexpr struct {
  DType type;
  std::string_view name;
} kNames[] = {{DType::f32, "F32"}, {DType::f16, "F16"}, {DType::bf16, "BF16"},
              {DType::f64, "F64"}, {DType::i8, "I8"},   {DType::u8, "U8"},
              {DType::i16, "I16"}, {DType::i32, "I32"}, {DType::i64, "I64"}};

// Reads elements of a possibly unaligned source.
template <class Stored, class Convert>
void convert(const std::byte* from, float* to, int64_t count, Convert&& to_float) {
  for (int64_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, from + i * int64_t(sizeof stored), sizeof stored);
    to[i] = to_float(stored);
  }
}

}  // namespace

std::string_view dtype_name(DType type) {
  for (const auto& entry : kNames)
    if (entry.type == type) return entry.name;
  return "?";
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const auto& entry : kNames)
    if (entry.name == name) return entry.type;
  return std::nullopt;
}

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(count, dim, &count) || count > (int64_t(1) << 62))
      throw Error(fmt::format("shape {} is negative or too large", shape_text(shape)));
  }
  return count;
}

std::string shape_text(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

void Tensor::Free::operator()(std::byte* p) const noexcept { ::operator delete[](p, kAlignment); }

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), size_(element_count(shape_)) {
  data_.reset(static_cast<std::byte*>(::operator new[](size_t(bytes()), kAlignment)));
  std::memset(data_.get(), 0, size_t(bytes()));
}

Tensor::Tensor(const Tensor& other) {
  if (other.data_ == nullptr) return;
  *this = Tensor(other.dtype_, other.shape_);
  std::memcpy(data_.get(), other.data_.get(), size_t(bytes()));
}

Tensor& Tensor::operator=(const Tensor& other) {
  if (this != &other) *this = Tensor(other);
  return *this;
}

int64_t Tensor::rows() const { return shape_.size() < 2 ? 1 : shape_[0]; }

int64_t Tensor::cols() const {
  if (shape_.size() < 2) return size_;
  return shape_[0] == 0 ? 0 : size_ / shape_[0];
}

float* Tensor::f32() {
  EDGEQ_CHECK(dtype_ == DType::f32, "tensor is read as f32");
  return reinterpret_cast<float*>(data_.get());
}

const float* Tensor::f32() const { return const_cast<Tensor*>(this)->f32(); }

MatrixView<float> Tensor::matrix() { return {f32(), rows(), cols()}; }
MatrixView<const float> Tensor::matrix() const { return {f32(), rows(), cols()}; }

Tensor to_f32(const TensorView& tensor) {
  Tensor out(DType::f32, tensor.shape);
  const int64_t n = out.size();
  switch (tensor.dtype) {
    case DType::f32: std::memcpy(out.data(), tensor.data, size_t(out.bytes())); break;
    case DType::f16: convert<uint16_t>(tensor.data, out.f32(), n, f16_to_f32); break;
    case DType::bf16: convert<uint16_t>(tensor.data, out.f32(), n, bf16_to_f32); break;
    case DType::f64: convert<double>(tensor.data, out.f32(), n, [](double v) { return float(v); }); break;
    default:
      throw Error(
          fmt::format("dtype {} is not a float type (F32, F16, BF16, F64)", dtype_name(tensor.dtype)));
  }
  return out;
}

Tensor from_f32(const Tensor& tensor, DType dtype) {
  if (dtype == DType::f32) return tensor;
  EDGEQ_CHECK(dtype == DType::f16 || dtype == DType::bf16, "from_f32 makes f32, f16 or bf16");
  Tensor out(dtype, tensor.shape());
  auto* to = reinterpret_cast<uint16_t*>(out.data());
  const float* from = tensor.f32();
  for (int64_t i = 0; i < out.size(); ++i)
    to[i] = dtype == DType::f16 ? f32_to_f16(from[i]) : f32_to_bf16(from[i]);
  return out;
}

}  // namespace edgeq
