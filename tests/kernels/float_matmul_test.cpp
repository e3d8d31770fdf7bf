// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/random.h"
#include "runtime/kernels/kernel_table.h"
#include "tests/kernels/matrices.h"
#include "tests/kernels/same_bits.h"

namespace edgeq {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16};

Tensor random_matrix(int64_t rows, int64_t cols, Random& random) {
  Tensor matrix(DType::f32, {rows, cols});
  for (int64_t i = 0; i < matrix.size(); ++i) matrix.f32()[i] = float(random.normal());
  return matrix;
}

std::vector<float> multiply(const KernelTable& table, const PackedFloat& weight, const float* x,
                            int64_t x_stride, int64_t tokens) {
  const int64_t stride = weight.panels() * kPanelRows;
  std::vector<float> y(size_t(tokens * stride), -1.0f);
  table.float_matmul(weight.kernel_weight(), x, x_stride, tokens, y.data(), stride, 0, weight.panels());
  return y;
}

// Largest |y - reference| / bound. n multiply-adds of one rounding each: n * 2^-24 * sum |w| |x|.
double error_over_bound(const Tensor& stored, const std::vector<float>& x, const std::vector<float>& y) {
  const Tensor matrix = to_f32(stored.view());
  const int64_t rows = matrix.rows(), cols = matrix.cols(), tokens = int64_t(x.size()) / cols;
  const int64_t stride = int64_t(y.size()) / tokens;
  double worst = 0;
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0, magnitude = 0;
      for (int64_t c = 0; c < cols; ++c) {
        const double term = double(matrix.f32()[r * cols + c]) * double(x[size_t(t * cols + c)]);
        sum += term;
        magnitude += std::abs(term);
      }
      worst = std::max(
          worst, std::abs(double(y[size_t(t * stride + r)]) - sum) / (0x1p-24 * double(cols) * magnitude));
    }
  return worst;
}

TEST(FloatMatmul, ScalarStaysWithinTheRoundingBound) {
  Random random(1);
  for (const DType type : kTypes) {
    const Tensor matrix = random_matrix(17, 100, random);
    const auto x = random_floats(3 * 100, random);
    const auto y = multiply(choose_kernels("scalar"), PackedFloat(matrix, type), x.data(), 100, 3);
    EXPECT_LE(error_over_bound(from_f32(matrix, type), x, y), 1) << dtype_name(type);
    Tensor wrong = matrix;
    wrong.f32()[16 * 100 + 99] *= 1.05f;
    EXPECT_GT(error_over_bound(from_f32(wrong, type), x, y), 1) << "one weight off by 5 % passes";
  }
}

TEST(FloatMatmul, EveryIsaGivesTheBitsOfScalar) {
  Random random(2);
  for (const DType type : kTypes)
    for (const int64_t cols : {1, 33, 64, 100})
      for (const int64_t rows : {1, 15, 16, 17, 100})
        for (const int64_t tokens : {1, 2, 3, 4, 5, 7, 12, 13, 29}) {
          const PackedFloat weight(random_matrix(rows, cols, random), type);
          const int64_t stride = cols + 3;
          const auto x = random_floats(tokens * stride, random);
          const auto expected = multiply(choose_kernels("scalar"), weight, x.data(), stride, tokens);
          for (const KernelTable* table : runnable_kernels())
            expect_same_bits(multiply(*table, weight, x.data(), stride, tokens), expected,
                             std::string(table->isa) + " " + std::string(dtype_name(type)));
        }
}

TEST(FloatMatmul, ATokensResultDoesNotDependOnHowManyAreComputedTogether) {
  Random random(3);
  const int64_t cols = 40, tokens = 512;
  const auto x = random_floats(tokens * cols, random);
  for (const DType type : kTypes) {
    const PackedFloat weight(random_matrix(33, cols, random), type);
    for (const KernelTable* table : runnable_kernels()) {
      const auto all = multiply(*table, weight, x.data(), cols, tokens);
      const int64_t stride = weight.panels() * kPanelRows;
      for (const int64_t count : {1, 2, 3, 4, 8, 16}) {
        const int64_t first = int64_t(random.below(uint64_t(tokens - count)));
        expect_same_bits(multiply(*table, weight, x.data() + first * cols, cols, count),
                         {all.begin() + first * stride, all.begin() + (first + count) * stride}, table->isa);
      }
    }
  }
}

}  // namespace
}  // namespace edgeq
