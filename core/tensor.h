// SPDX-License-Identifier: Apache-2.0
// Three types for three jobs: Tensor owns, TensorView looks, MatrixView<T> computes. Row-major and contiguous
// (a MatrixView may have a wider row stride). A weight is [rows = out, cols = in], without exception.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "core/dtype.h"

namespace edgeq {

using Shape = std::vector<int64_t>;

// Product of the dimensions (1 for a scalar). Throws Error when a dimension is negative or the product passes
// 2^62.
int64_t element_count(const Shape& shape);
std::string shape_text(const Shape& shape);  // "[576, 1536]"

template <class T>
struct MatrixView {
  T* data = nullptr;
  int64_t rows = 0, cols = 0;
  int64_t stride = 0;  // elements from one row to the next, at least cols

  MatrixView() = default;
  MatrixView(T* data, int64_t rows, int64_t cols) : MatrixView(data, rows, cols, cols) {}
  MatrixView(T* data, int64_t rows, int64_t cols, int64_t stride)
      : data(data), rows(rows), cols(cols), stride(stride) {}

  T* row(int64_t r) const { return data + r * stride; }
  T& operator()(int64_t r, int64_t c) const { return data[r * stride + c]; }
  // Rows [first, first + count).
  MatrixView slice_rows(int64_t first, int64_t count) const { return {row(first), count, cols, stride}; }
  operator MatrixView<const T>() const requires(!std::is_const_v<T>) { return {data, rows, cols, stride}; }
};

struct TensorView {
  DType dtype = DType::f32;
  Shape shape;
  const std::byte* data = nullptr;  // lives as long as its owner (a Tensor or a mapped file); any alignment

  int64_t size() const { return element_count(shape); }
  int64_t bytes() const { return size() * dtype_bytes(dtype); }
};

// Owns its elements, aligned to 64 bytes. A copy is a deep copy.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);  // zero-filled
  Tensor(const Tensor& other);
  Tensor& operator=(const Tensor& other);
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(Tensor&&) noexcept = default;

  bool empty() const { return size_ == 0; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * dtype_bytes(dtype_); }
  // A vector is one row; otherwise the first dimension is rows and the rest are columns.
  int64_t rows() const;
  int64_t cols() const;

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  TensorView view() const { return {dtype_, shape_, data_.get()}; }

  // Typed access to an f32 tensor; EDGEQ_CHECKs the type.
  float* f32();
  const float* f32() const;
  MatrixView<float> matrix();
  MatrixView<const float> matrix() const;

 private:
  struct Free {
    void operator()(std::byte* p) const noexcept;
  };
  DType dtype_ = DType::f32;
  Shape shape_;
  int64_t size_ = 0;
  std::unique_ptr<std::byte[], Free> data_;
};

// Converts any floating tensor to f32. Throws Error for integer types.
Tensor to_f32(const TensorView& tensor);
// Converts an f32 tensor to f16 or bf16 (round to nearest even), or copies it for f32.
Tensor from_f32(const Tensor& tensor, DType dtype);

}  // namespace edgeq
