// SPDX-License-Identifier: Apache-2.0
#include "quantizers/refiner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/parallel.h"
#include "quantizers/grid.h"
#include "quantizers/registry.h"
#include "tests/quantizers/samples.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

constexpr int64_t kRows = 70, kCols = 96;  // more than one task of rows

QuantizedTensor start(const char* method, const char* scheme, const Tensor& target, const InputStats& stats) {
  return make_quantizer(method, parse_scheme(scheme), {})->quantize(target.matrix(), stats).weight;
}

// tr(D H' D^T) of every row, by definition in double.
std::vector<double> row_errors(const QuantizedTensor& q, const Tensor& target, const InputStats& stats) {
  double mean = 0;
  for (int64_t j = 0; j < kCols; ++j) mean += double(stats.hessian.matrix()(j, j)) / double(kCols);
  const Tensor values = dequantized(q);
  std::vector<double> errors;
  for (int64_t r = 0; r < q.rows; ++r) {
    double error = 0;
    for (int64_t i = 0; i < kCols; ++i)
      for (int64_t j = 0; j < kCols; ++j) {
        const double h = double(stats.hessian.matrix()(i, j)) + (i == j ? kRefineDamping * mean : 0);
        error += (double(target.matrix()(r, i)) - double(values.matrix()(r, i))) * h *
                 (double(target.matrix()(r, j)) - double(values.matrix()(r, j)));
      }
    errors.push_back(error);
  }
  return errors;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (double v : values) total += v;
  return total;
}

TEST(Refiners, NeverRaiseTheErrorOfARowAndLowerTheWhole) {
  const Tensor target = random_matrix(kRows, kCols, 1);
  const InputStats stats = stats_of(random_inputs(300, kCols, 0.5, 2));
  for (const char* method : {"rtn", "gptq"})
    for (const char* scheme : {"int4-g32-sym", "int3-g32-asym", "int4-g32-offset", "int8-channel-sym",
                               "iq4nl-g32", "iq4nl-g32-s8"})
      for (const RefinerEntry& entry : refiners()) {
        QuantizedTensor q = start(method, scheme, target, stats);
        const auto before = row_errors(q, target, stats);
        entry.make()->refine(q, target.matrix(), stats);
        const auto after = row_errors(q, target, stats);
        // A row is taken when its error falls as computed in f32: 2^-24 of some hundred terms.
        for (size_t r = 0; r < before.size(); ++r)
          ASSERT_LE(after[r], before[r] * (1 + 1e-5)) << entry.name << " " << method << " " << scheme;
        EXPECT_LT(sum(after), sum(before)) << entry.name << " " << method << " " << scheme;
      }
}

TEST(Refiners, PolishReachesAPointWhereNoSingleCodeHelps) {
  const Tensor target = random_matrix(8, kCols, 3);
  const InputStats stats = stats_of(random_inputs(300, kCols, 0.5, 4));
  QuantizedTensor q = start("rtn", "int4-g32-sym", target, stats);
  const QuantizedTensor unpolished = q;
  for (int sweep = 0; sweep < 20; ++sweep) make_refiner("polish")->refine(q, target.matrix(), stats);
  const auto improvements = [&](const QuantizedTensor& from) {
    const auto least = row_errors(from, target, stats);
    int count = 0;
    std::vector<uint8_t> codes(size_t(kCols), 0);
    for (int64_t r = 0; r < from.rows; ++r) {
      from.get_codes(r, codes);
      for (size_t c = 0; c < codes.size(); c += 5)
        for (int step : {-1, 1}) {
          const int code = codes[c] + step;
          if (code < 0 || code > 15) continue;
          QuantizedTensor other = from;
          auto changed = codes;
          changed[c] = uint8_t(code);
          other.set_codes(r, changed);
          count += row_errors(other, target, stats)[size_t(r)] < least[size_t(r)] * (1 - 1e-5) ? 1 : 0;
        }
    }
    return count;
  };
  EXPECT_EQ(improvements(q), 0);
  EXPECT_GT(improvements(unpolished), 0);  // control
}

TEST(Refiners, RefitFindsTheScalesThatAnExactWeightWasMadeWith) {
  Tensor target = random_matrix(kRows, kCols, 5);
  const InputStats stats = stats_of(random_inputs(300, kCols, 0.5, 6));
  QuantizedTensor q = start("rtn", "int4-g32-sym-f32", target, stats);
  dequantize_into(q, target.matrix());
  const QuantizedTensor exact = q;
  for (size_t i = 0; i < q.scales.size(); ++i) q.scales[i] *= i % 2 == 0 ? 1.04f : 0.97f;
  const double spoilt = sum(row_errors(q, target, stats));
  for (int i = 0; i < 4; ++i) make_refiner("refit")->refine(q, target.matrix(), stats);
  // The ridge takes a thousandth of the way at most in each call: what is left falls by three orders each
  // time.
  EXPECT_LT(sum(row_errors(q, target, stats)), 1e-6 * spoilt);
  EXPECT_EQ(q.codes, exact.codes);
}

TEST(Refiners, ScalesAreThoseOfTheStore) {
  const Tensor target = random_matrix(kRows, kCols, 7);
  const InputStats stats = stats_of(random_inputs(300, kCols, 0.5, 8));
  QuantizedTensor q = start("gptq", "int4-g32-sym", target, stats);
  make_refiner("refit")->refine(q, target.matrix(), stats);
  for (float scale : q.scales) ASSERT_EQ(scale, round_to_store(scale, ScaleStore::f16));
}

TEST(Refiners, AreTheSameForOneAndTwoThreads) {
  const Tensor target = random_matrix(kRows, kCols, 9);
  const InputStats stats = stats_of(random_inputs(300, kCols, 0.5, 10));
  for (const RefinerEntry& entry : refiners()) {
    QuantizedTensor one = start("gptq", "int3-g32-sym", target, stats), two = one;
    set_thread_count(1);
    entry.make()->refine(one, target.matrix(), stats);
    set_thread_count(2);
    entry.make()->refine(two, target.matrix(), stats);
    EXPECT_EQ(one, two) << entry.name;
  }
}

// Fewer tokens than columns, dead columns, a group of zeros, a group whose scale f16 can hardly hold.
TEST(Refiners, SurviveWhatIsSingular) {
  Tensor target = random_matrix(4, kCols, 11), inputs = random_inputs(3, kCols, 0.5, 12);
  for (int64_t c = 0; c < 32; ++c) target.matrix()(0, c) = 0;
  for (int64_t c = 32; c < 64; ++c) target.matrix()(1, c) *= 1e-8f;
  for (int64_t t = 0; t < 3; ++t)
    for (int64_t c = 60; c < 70; ++c) inputs.matrix()(t, c) = 0;
  for (const Tensor& x : {inputs, Tensor(DType::f32, {3, kCols})}) {
    const InputStats stats = stats_of(x);
    for (const RefinerEntry& entry : refiners()) {
      QuantizedTensor q = start("rtn", "int4-g32-sym", target, stats);
      entry.make()->refine(q, target.matrix(), stats);
      const Tensor values = dequantized(q);
      for (int64_t i = 0; i < values.size(); ++i) ASSERT_TRUE(std::isfinite(values.f32()[i])) << entry.name;
    }
  }
}

TEST(Refiners, RefuseMissingStatisticsAndUnknownNames) {
  const Tensor target = random_matrix(2, kCols, 13);
  QuantizedTensor q = start("rtn", "int4-g32-sym", target, {});
  for (const RefinerEntry& entry : refiners())
    EXPECT_THAT(error_of([&] { entry.make()->refine(q, target.matrix(), {}); }),
                testing::HasSubstr("without a hessian"));
  EXPECT_THAT(error_of([&] { make_refiner("polsh"); }), testing::HasSubstr("expected one of polish, refit"));
}

}  // namespace
}  // namespace edgeq
