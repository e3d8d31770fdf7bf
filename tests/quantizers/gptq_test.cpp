// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "quantizers/feedback.h"
#include "quantizers/grid.h"
#include "quantizers/output_error.h"
#include "quantizers/registry.h"
#include "tests/quantizers/samples.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using Values = std::map<std::string, std::string>;

QuantizeResult quantize(const char* method, const std::string& scheme, const Tensor& weight,
                        const InputStats& stats, const Values& options = {}) {
  return make_quantizer(method, parse_scheme(scheme), Options(options))->quantize(weight.matrix(), stats);
}

double relative_error(const Tensor& weight, const QuantizedTensor& q, const InputStats& stats) {
  return output_error(weight.matrix(), dequantized(q).matrix(), stats).relative;
}

using Matrix = std::vector<std::vector<double>>;

// H'^-1 in rounding order, by Gauss-Jordan elimination.
Matrix inverse_of_damped(const Tensor& hessian, const std::vector<int64_t>& order, double damp) {
  const size_t n = order.size();
  double mean = 0;
  for (int64_t j : order) mean += double(hessian.matrix()(j, j)) / double(n);
  Matrix a(n, std::vector<double>(n)), inverse(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) a[i][j] = double(hessian.matrix()(order[i], order[j]));
    a[i][i] += damp * mean;
    inverse[i][i] = 1;
  }
  for (size_t p = 0; p < n; ++p) {
    const double pivot = a[p][p];
    for (size_t j = 0; j < n; ++j) a[p][j] /= pivot, inverse[p][j] /= pivot;
    for (size_t i = 0; i < n; ++i) {
      const double factor = i == p ? 0 : a[i][p];
      for (size_t j = 0; j < n; ++j) a[i][j] -= factor * a[p][j], inverse[i][j] -= factor * inverse[p][j];
    }
  }
  return inverse;
}

// GPTQ as the optimal brain surgeon that it comes from, in double and one column at a time: H^-1 itself, with
// each rounded column eliminated. No factorization, no blocks, no product: another way to the same numbers.
QuantizedTensor brain_surgeon(const std::string& scheme_text, const Tensor& weight, const Tensor& hessian,
                              double damp, ColumnOrder kind) {
  const QuantScheme scheme = parse_scheme(scheme_text);
  const auto rows = size_t(weight.rows()), n = size_t(weight.cols());
  const auto group = size_t(scheme.group_size(weight.cols()));
  const auto order = column_order(hessian.matrix(), {int64_t(group), int64_t(group)}, kind);
  Matrix inverse = inverse_of_damped(hessian, order, damp);
  Matrix w(rows, std::vector<double>(n));
  for (size_t r = 0; r < rows; ++r)
    for (size_t j = 0; j < n; ++j) w[r][j] = double(weight.matrix()(int64_t(r), order[j]));

  QuantizedTensor out(scheme, weight.rows(), weight.cols());
  std::vector<std::vector<uint8_t>> codes(rows, std::vector<uint8_t>(n));
  std::vector<GroupGrid> grids(rows);
  for (size_t j = 0; j < n; ++j) {
    for (size_t r = 0; r < rows; ++r) {
      if (j % group == 0) {
        const std::vector<float> values(w[r].begin() + int64_t(j), w[r].begin() + int64_t(j + group));
        grids[r] = choose_grid(scheme, values, {}, GridSearch::none);
        set_grid(out, int64_t(r), order[j] / int64_t(group), grids[r]);
      }
      const uint8_t code = round_to_code(scheme, grids[r], float(w[r][j]));
      const double error = (w[r][j] - double(code_value(scheme, grids[r], code))) / inverse[j][j];
      for (size_t k = j + 1; k < n; ++k) w[r][k] -= error * inverse[j][k];
      codes[r][size_t(order[j])] = code;
    }
    for (size_t i = j + 1; i < n; ++i)
      for (size_t k = j + 1; k < n; ++k) inverse[i][k] -= inverse[i][j] * inverse[j][k] / inverse[j][j];
  }
  for (size_t r = 0; r < rows; ++r) out.set_codes(int64_t(r), codes[r]);
  return out;
}

TEST(Gptq, EqualsTheUnblockedReference) {
  const Tensor weight = random_matrix(10, 192, 1);
  const InputStats stats = stats_of(random_inputs(400, 192, 0.5, 2));
  for (const char* scheme : {"int4-g32-sym", "int3-g64-asym", "int4-g96-offset", "int4-channel-sym",
                             "int8-g192-sym", "iq4nl-g32"}) {
    for (const char* order : {"none", "group"}) {
      const auto kind = std::string(order) == "none" ? ColumnOrder::none : ColumnOrder::group;
      const auto fast =
          quantize("gptq", scheme, weight, stats, {{"search", "none"}, {"order", order}}).weight;
      const auto slow = brain_surgeon(scheme, weight, stats.hessian, 0.01, kind);
      const double fast_error = relative_error(weight, fast, stats),
                   slow_error = relative_error(weight, slow, stats);
      // f32 against double: a value on the edge between two codes may fall to the other side, and what
      // follows differs from there; the loss cannot differ much.
      EXPECT_NEAR(fast_error / slow_error, 1, 0.01) << scheme << " " << order;
      int64_t different = 0;
      std::vector<uint8_t> a(192), b(192);
      for (int64_t r = 0; r < 10; ++r) {
        fast.get_codes(r, a);
        slow.get_codes(r, b);
        different += a != b ? 1 : 0;
      }
      EXPECT_LE(different, 1) << scheme << " " << order;
      // control: the reference with another damping is another result
      EXPECT_NE(brain_surgeon(scheme, weight, stats.hessian, 0.1, kind), slow) << scheme;
    }
  }
}

TEST(Gptq, EqualsRoundToNearestWhenInputsDoNotCorrelate) {
  const Tensor weight = random_matrix(9, 128, 3);
  InputStats stats = stats_of(random_inputs(64, 128, 0.5, 4));
  const InputStats correlated = stats;
  for (int64_t i = 0; i < 128; ++i)
    for (int64_t j = 0; j < 128; ++j)
      if (i != j) stats.hessian.matrix()(i, j) = 0;
  for (const char* scheme :
       {"int4-g32-sym", "int3-g32-asym", "int4-g64-offset", "int8-channel-sym", "iq4_nl"}) {
    const auto plain = quantize("rtn", scheme, weight, stats).weight;
    EXPECT_EQ(quantize("gptq", scheme, weight, stats, {{"search", "none"}}).weight, plain) << scheme;
    EXPECT_NE(quantize("gptq", scheme, weight, correlated, {{"search", "none"}}).weight, plain)
        << scheme;  // control
    const auto searched = quantize("rtn", scheme, weight, stats, {{"search", "mse"}}).weight;
    const Values options = {{"scale_weights", "none"}, {"order", "none"}};
    EXPECT_EQ(quantize("gptq", scheme, weight, stats, options).weight, searched) << scheme;
  }
}

TEST(Gptq, BeatsRoundToNearestWhenInputsCorrelate) {
  const Tensor weight = random_matrix(24, 192, 5);
  const InputStats stats = stats_of(random_inputs(600, 192, 0.5, 6));
  for (const char* scheme : {"int4-g32-sym", "int2-g32-asym", "int3-g64-offset", "int4-channel-sym"}) {
    const auto nearest = quantize("rtn", scheme, weight, stats, {{"search", "weighted"}}).weight;
    const auto gptq = quantize("gptq", scheme, weight, stats).weight;
    EXPECT_LT(relative_error(weight, gptq, stats), 0.8 * relative_error(weight, nearest, stats)) << scheme;
    // control: feedback through the Hessian of other inputs is no better than none
    const InputStats other = stats_of(random_inputs(600, 192, 0.5, 60));
    const auto misled = quantize("gptq", scheme, weight, other).weight;
    EXPECT_GT(relative_error(weight, misled, stats), 0.8 * relative_error(weight, nearest, stats)) << scheme;
  }
}

TEST(Gptq, BeatsRoundToNearestOnEveryKindOfStore) {
  const Tensor weight = random_matrix(16, 512, 25);
  const InputStats stats = stats_of(random_inputs(700, 512, 0.5, 26));
  for (const char* scheme : {"iq4_nl", "int4-g32-s8", "iq4nl-g32-s8", "int3-g64-asym-s8", "q5_0", "q5_1",
                             "q4_k", "q5_k", "q6_k"}) {
    const auto nearest = quantize("rtn", scheme, weight, stats, {{"search", "weighted"}}).weight;
    const auto gptq = quantize("gptq", scheme, weight, stats).weight;
    EXPECT_LT(relative_error(weight, gptq, stats), 0.8 * relative_error(weight, nearest, stats)) << scheme;
  }
}

// Scale codes cost little: their scales are rounded before the codes, which make up for it.
TEST(Gptq, ScalesOfEightBitsCostLittle) {
  constexpr double kScaleCodesCost = 1.03;  // measured: below 1.02
  const Tensor weight = random_matrix(32, 512, 27);
  const InputStats stats = stats_of(random_inputs(700, 512, 0.5, 28));
  for (const auto& [codes, floats] :
       {std::pair{"int4-g32-s8", "int4-g32-sym"}, {"iq4nl-g32-s8", "iq4nl-g32"}}) {
    const double coded = relative_error(weight, quantize("gptq", codes, weight, stats).weight, stats);
    const double plain = relative_error(weight, quantize("gptq", floats, weight, stats).weight, stats);
    EXPECT_LT(coded, kScaleCodesCost * plain) << codes << " " << coded / plain;
  }
}

TEST(Gptq, GroupOrderAndFeedbackWeightsLowerTheLoss) {
  const Tensor weight = random_matrix(64, 256, 7);
  const InputStats stats = stats_of(random_inputs(800, 256, 0.5, 8));
  const auto loss = [&](const Values& options) {
    return relative_error(weight, quantize("gptq", "int3-g32-sym", weight, stats, options).weight, stats);
  };
  const double best = loss({});
  EXPECT_LT(best, loss({{"order", "none"}}));
  EXPECT_LT(best, loss({{"scale_weights", "none"}}));
  EXPECT_LT(best, loss({{"search", "none"}}));
}

TEST(Gptq, IsTheSameForOneAndTwoThreads) {
  const Tensor weight = random_matrix(150, 192, 9);
  const InputStats stats = stats_of(random_inputs(300, 192, 0.5, 10));
  for (const char* scheme : {"int4-g32-sym", "iq4nl-g32-s8"}) {
    set_thread_count(1);
    const auto one = quantize("gptq", scheme, weight, stats).weight;
    set_thread_count(2);
    EXPECT_EQ(quantize("gptq", scheme, weight, stats).weight, one) << scheme;
  }
}

TEST(Gptq, StackedMatricesEqualTheirParts) {
  const Tensor weight = random_matrix(100, 256, 11);
  const InputStats stats = stats_of(random_inputs(300, 256, 0.5, 12));
  for (const char* scheme : {"int4-g32-asym", "iq4nl-g32-s8", "q4_k"}) {
    const auto quantizer = make_quantizer("gptq", parse_scheme(scheme), {});
    const Tensor whole = dequantized(quantizer->quantize(weight.matrix(), stats).weight);
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 7}, {7, 93}}) {
      const Tensor part =
          dequantized(quantizer->quantize(weight.matrix().slice_rows(first, count), stats).weight);
      for (int64_t i = 0; i < part.size(); ++i)
        ASSERT_EQ(part.f32()[i], whole.f32()[first * 256 + i]) << scheme;
    }
  }
}

TEST(Gptq, DeadColumnsBecomeZeroAndAreReported) {
  const Tensor weight = random_matrix(5, 64, 13);
  Tensor inputs = random_inputs(200, 64, 0.5, 14);
  for (int64_t t = 0; t < inputs.rows(); ++t) inputs.matrix()(t, 3) = inputs.matrix()(t, 40) = 0;
  const InputStats stats = stats_of(inputs);
  const QuantizeResult result = quantize("gptq", "int4-g32-asym", weight, stats);
  EXPECT_EQ(result.notes.dead_columns, 2);
  EXPECT_EQ(result.notes.damping_raises, 0);
  const Tensor values = dequantized(result.weight);
  for (int64_t r = 0; r < 5; ++r) {
    EXPECT_EQ(values.matrix()(r, 3), 0.0f);
    EXPECT_EQ(values.matrix()(r, 40), 0.0f);
    EXPECT_GT(std::abs(values.matrix()(r, 4)) + std::abs(values.matrix()(r, 5)), 0.0f);  // control
  }
}

TEST(Gptq, InputsThatWereNeverSeenGiveZerosNotAnError) {
  const Tensor weight = random_matrix(3, 32, 15);
  const InputStats stats = stats_of(Tensor(DType::f32, {10, 32}));
  const QuantizeResult result = quantize("gptq", "int4-g32-sym", weight, stats);
  EXPECT_EQ(result.notes.dead_columns, 32);
  const Tensor values = dequantized(result.weight);
  for (int64_t i = 0; i < values.size(); ++i) EXPECT_EQ(values.f32()[i], 0.0f);
}

TEST(Gptq, ConstantColumnsMakeUpForEachOther) {
  // Columns 5 and 40 are the same constant, so that only the sum of their weights matters.
  const int64_t rows = 200;
  const Tensor weight = random_matrix(rows, 64, 16);
  Tensor inputs = random_inputs(300, 64, 0, 17);
  for (int64_t t = 0; t < inputs.rows(); ++t) inputs.matrix()(t, 5) = inputs.matrix()(t, 40) = 1;
  const InputStats stats = stats_of(inputs);
  const auto error_of_sum = [&](const char* method) {
    const Tensor q =
        dequantized(quantize(method, "int4-g32-sym", weight, stats, {{"search", "none"}}).weight);
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const auto difference = [&](int64_t c) {
        return double(weight.matrix()(r, c)) - double(q.matrix()(r, c));
      };
      sum += std::pow(difference(5) + difference(40), 2) / double(rows);
    }
    return sum;
  };
  // Two independent roundings against one; half, and room for 200 samples (standard error of the ratio 0.07).
  EXPECT_LT(error_of_sum("gptq"), 0.7 * error_of_sum("rtn"));
}

TEST(Gptq, ReportsARaisedDamping) {
  const Tensor weight = random_matrix(4, 64, 18);
  const InputStats stats = stats_of(random_inputs(3, 64, 0.5, 19));  // rank 3
  const QuantizeResult raised = quantize("gptq", "int4-g32-sym", weight, stats, {{"damp", "0"}});
  EXPECT_GT(raised.notes.damping_raises, 0);
  EXPECT_GT(raised.notes.damping, 0);
  const QuantizeResult plain = quantize("gptq", "int4-g32-sym", weight, stats);
  EXPECT_EQ(plain.notes.damping_raises, 0);
  EXPECT_DOUBLE_EQ(plain.notes.damping, 0.01);
}

TEST(Gptq, RefusesMissingOrForeignStatistics) {
  const Tensor weight = random_matrix(2, 32, 20);
  EXPECT_THAT(error_of([&] { quantize("gptq", "int4-g32-sym", weight, {}); }),
              testing::HasSubstr("without a hessian"));
  const InputStats stats = stats_of(random_inputs(10, 16, 0, 21));
  EXPECT_THAT(error_of([&] { quantize("gptq", "int4-g32-sym", weight, stats); }),
              testing::HasSubstr("expected 32"));
  EXPECT_THAT(
      error_of([&] { quantize("gptq", "int4-g64-sym", weight, stats_of(random_inputs(10, 32, 0, 22))); }),
      testing::HasSubstr("group 64 does not divide 32 columns"));
}

}  // namespace
}  // namespace edgeq
