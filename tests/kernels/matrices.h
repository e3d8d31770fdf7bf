// SPDX-License-Identifier: Apache-2.0
// Random matrices in the kernels' layout, for tests and benchmarks of kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/quantized_tensor.h"
#include "core/random.h"
#include "core/tensor.h"
#include "formats/panels.h"
#include "runtime/kernels/kernel_abi.h"
#include "tests/support/random_quantized.h"

namespace edgeq {

std::vector<float> random_floats(int64_t count, Random& random);

// A packed weight and what a kernel needs to know of it; several copies one behind the other on request.
class PackedQuantized {
 public:
  explicit PackedQuantized(const QuantizedTensor& tensor, int64_t copies = 1);
  KernelWeight kernel_weight(int64_t copy = 0) const;
  int64_t panels() const { return shape_.panels; }
  int64_t bytes() const { return shape_.panels * shape_.bytes; }

 private:
  QuantScheme scheme_;
  int64_t rows_, cols_;
  PanelShape shape_;
  std::vector<std::byte> packed_;
};

class PackedFloat {
 public:
  PackedFloat(const Tensor& matrix, DType dtype);
  KernelFloatWeight kernel_weight() const;
  int64_t panels() const { return shape_.panels; }
  int64_t bytes() const { return shape_.panels * shape_.bytes; }

 private:
  DType dtype_;
  int64_t cols_;
  PanelShape shape_;
  std::vector<std::byte> packed_;
};

// Activations of `tokens` rows of `cols` floats, quantized per `group` columns (32, or 0 for a whole row) by
// the kernels of `table`.
class QuantizedInput {
 public:
  QuantizedInput(const KernelTable& table, const std::vector<float>& x, int64_t tokens, int64_t cols,
                 int64_t group = 32);
  KernelInput kernel_input() const { return {codes.data(), scales.data(), sums.data(), tokens}; }
  // Only tokens [first, first + count).
  KernelInput slice(int64_t first, int64_t count) const;
  double value(int64_t token, int64_t col) const;  // what the codes mean

  int64_t tokens, blocks;
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;
};

}  // namespace edgeq
