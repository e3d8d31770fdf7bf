// SPDX-License-Identifier: Apache-2.0
#include "quantizers/output_error.h"

#include <gtest/gtest.h>

#include "core/parallel.h"
#include "tests/quantizers/samples.h"

namespace edgeq {
namespace {

TEST(OutputError, IsTheMeanSquareOfTheOutputsDifference) {
  const int64_t rows = 70, d = 40, tokens = 90;
  const Tensor weight = random_matrix(rows, d, 1), inputs = random_inputs(tokens, d, 0.5, 2);
  Tensor candidate = weight;
  const Tensor noise = random_matrix(rows, d, 3);
  for (int64_t i = 0; i < candidate.size(); ++i) candidate.f32()[i] += 0.1f * noise.f32()[i];

  double squared = 0, reference = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < rows; ++r) {
      double y = 0, difference = 0;
      for (int64_t c = 0; c < d; ++c) {
        const double x = double(inputs.matrix()(t, c));
        y += double(weight.matrix()(r, c)) * x;
        difference += (double(weight.matrix()(r, c)) - double(candidate.matrix()(r, c))) * x;
      }
      squared += difference * difference / double(tokens);
      reference += y * y / double(tokens);
    }
  }
  const OutputError error = output_error(weight.matrix(), candidate.matrix(), stats_of(inputs));
  // H and the products are in f32: d roundings of 2^-24 on sums of like size, and some cancellation.
  const double tolerance = double(d) * 0x1p-23;
  EXPECT_NEAR(error.squared / squared, 1, tolerance);
  EXPECT_NEAR(error.relative / (squared / reference), 1, tolerance);
  EXPECT_GT(std::abs(error.squared / squared * 1.0001 - 1), tolerance);  // control: 1 in 10^4 is seen
}

TEST(OutputError, WithoutAHessianUsesItsDiagonal) {
  const Tensor weight = random_matrix(3, 8, 4), zero(DType::f32, {3, 8});
  InputStats stats;
  stats.abs_max = stats.square_mean = Tensor(DType::f32, {8});
  for (int64_t c = 0; c < 8; ++c) stats.square_mean.f32()[c] = float(c);
  double expected = 0;
  for (int64_t r = 0; r < 3; ++r)
    for (int64_t c = 0; c < 8; ++c)
      expected += double(c) * double(weight.matrix()(r, c)) * double(weight.matrix()(r, c));
  const OutputError error = output_error(weight.matrix(), zero.matrix(), stats);
  EXPECT_NEAR(error.squared, expected, 1e-12 * expected);
  EXPECT_DOUBLE_EQ(error.relative, 1);
}

TEST(OutputError, OfEqualWeightsIsZeroAndOfNothingIsZero) {
  const Tensor weight = random_matrix(3, 8, 5), zero(DType::f32, {3, 8});
  const InputStats stats = stats_of(random_inputs(20, 8, 0.5, 6));
  EXPECT_EQ(output_error(weight.matrix(), weight.matrix(), stats).squared, 0);
  EXPECT_EQ(output_error(zero.matrix(), zero.matrix(), stats).relative, 0);
}

TEST(OutputError, IsTheSameForOneAndTwoThreads) {
  const Tensor weight = random_matrix(200, 24, 7), other = random_matrix(200, 24, 8);
  const InputStats stats = stats_of(random_inputs(40, 24, 0.5, 9));
  set_thread_count(1);
  const double one = output_error(weight.matrix(), other.matrix(), stats).squared;
  set_thread_count(2);
  EXPECT_EQ(output_error(weight.matrix(), other.matrix(), stats).squared, one);
}

}  // namespace
}  // namespace edgeq
