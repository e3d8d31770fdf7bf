// SPDX-License-Identifier: Apache-2.0
#include "pruning/compensate.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/parallel.h"
#include "pruning/structure.h"
#include "tests/quantizers/samples.h"

namespace edgeq {
namespace {

constexpr int64_t kTokens = 500, kCols = 20, kRows = 7;

// A reader whose inputs, bias and residual stream have drifted, and that loses some of its columns.
struct Reader {
  Tensor x = random_inputs(kTokens, kCols, 0.7, 1), x_now = x;
  Tensor r = random_matrix(kTokens, kRows, 2), r_now = r;
  std::vector<int64_t> kept = {0, 1, 3, 4, 5, 8, 9, 10, 12, 13, 15, 16, 18};
  Site site{.name = "down", .weight = random_matrix(kRows, kCols, 3), .bias = {}};
  InputStats stats;

  Reader() {
    const Tensor noise = random_matrix(kTokens, kCols, 4), drift = random_matrix(kTokens, kRows, 5);
    for (int64_t i = 0; i < x.size(); ++i) {
      x.f32()[i] += 0.4f;  // means that are not zero
      x_now.f32()[i] = 0.9f * x.f32()[i] + 0.05f * noise.f32()[i] + 0.1f;
    }
    for (int64_t i = 0; i < r.size(); ++i) r_now.f32()[i] += 0.1f * drift.f32()[i] - 0.2f;
    stats = stats_of(x_now);
    stats.cross = moment_of_difference(x, x_now, x_now);
    stats.residual = moment_of_difference(r, r_now, x_now);
    stats.drift = difference(x, x_now);
    stats.residual_drift = difference(r, r_now);
  }
  static Tensor difference(const Tensor& a, const Tensor& b) {
    Tensor out(DType::f32, {a.cols()});
    for (int64_t i = 0; i < a.cols(); ++i) {
      double sum = 0;
      for (int64_t t = 0; t < kTokens; ++t) sum += double(a.matrix()(t, i)) - double(b.matrix()(t, i));
      out.f32()[i] = float(sum / double(kTokens));
    }
    return out;
  }
  // Mean over tokens of |W X + b + R - W' x - b' - r|^2, by definition.
  double error(const Site& after) const {
    double sum = 0;
    for (int64_t t = 0; t < kTokens; ++t)
      for (int64_t o = 0; o < kRows; ++o) {
        double d = double(r.matrix()(t, o)) - double(r_now.matrix()(t, o));
        if (!site.bias.empty()) d += double(site.bias.f32()[o]) - double(after.bias.f32()[o]);
        for (int64_t c = 0; c < kCols; ++c)
          d += double(site.weight.matrix()(o, c)) * double(x.matrix()(t, c));
        for (size_t k = 0; k < kept.size(); ++k)
          d -= double(after.weight.matrix()(o, int64_t(k))) * double(x_now.matrix()(t, kept[k]));
        sum += d * d / double(kTokens);
      }
    return sum;
  }
  Site compensated(double damping) const {
    Site after = site;
    compensate(after, kept, stats, {.damping = damping, .residual = 1});
    return after;
  }
  Site plain() const {
    Site after = site;
    after.weight = take_columns(site.weight.matrix(), kept, 1);
    return after;
  }
};

void expect_least(const Reader& reader) {
  const Site best = reader.compensated(0);
  ASSERT_EQ(best.weight.cols(), std::ssize(reader.kept));
  const double least = reader.error(best), plain = reader.error(reader.plain());
  EXPECT_LT(least, 0.6 * plain);
  for (uint64_t seed = 10; seed < 13; ++seed) {
    // Any step away raises the error, by the same in both directions: the derivative is zero there.
    const Tensor step = random_matrix(kRows, std::ssize(reader.kept), seed);
    const auto moved = [&](float by) {
      Site site = best;
      for (int64_t i = 0; i < step.size(); ++i) site.weight.f32()[i] += by * step.f32()[i];
      for (int64_t i = 0; i < site.bias.size(); ++i) site.bias.f32()[i] += by * step.f32()[i];
      return reader.error(site) - least;
    };
    EXPECT_GT(moved(0.01f), 0);
    EXPECT_NEAR(moved(0.01f) / moved(-0.01f), 1, 0.02);  // f32 moments and weights
  }
}

TEST(Compensate, IsTheLeastErrorThatAnyWeightCanHave) { expect_least(Reader()); }

TEST(Compensate, WithABiasIsTheLeastThatAnyWeightAndBiasCanHave) {
  Reader without, with;
  with.site.bias = random_matrix(1, kRows, 6);
  with.site.bias = to_f32({DType::f32, {kRows}, with.site.bias.data()});
  expect_least(with);
  EXPECT_LT(with.error(with.compensated(0)), without.error(without.compensated(0)));
}

TEST(Compensate, ChangesNothingWhenNothingGoesAndTheStreamsAgree) {
  Reader reader;
  reader.kept.resize(size_t(kCols));
  std::iota(reader.kept.begin(), reader.kept.end(), int64_t(0));
  reader.stats.cross = Tensor(DType::f32, {kCols, kCols});
  reader.stats.residual = {};
  const Site same = reader.compensated(0.01);
  for (int64_t i = 0; i < same.weight.size(); ++i)
    EXPECT_EQ(same.weight.f32()[i], reader.site.weight.f32()[i]);
}

TEST(Compensate, IsTheSameForOneAndTwoThreads) {
  const Reader reader;
  set_thread_count(1);
  const Site one = reader.compensated(0.01);
  set_thread_count(2);
  const Site two = reader.compensated(0.01);
  EXPECT_TRUE(std::equal(one.weight.f32(), one.weight.f32() + one.weight.size(), two.weight.f32()));
}

}  // namespace
}  // namespace edgeq
