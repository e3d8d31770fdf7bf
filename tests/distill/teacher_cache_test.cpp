// SPDX-License-Identifier: Apache-2.0
#include "distill/teacher_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>

#include "core/random.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Logarithms of peaked distributions, another one in each row, but with the same common tokens in all.
Tensor random_rows(int64_t tokens, int64_t vocab, uint64_t seed) {
  Tensor rows(DType::f32, {tokens, vocab});
  Random random(seed), shared(99);
  std::vector<double> common(static_cast<size_t>(vocab));
  for (double& c : common) c = shared.normal();
  for (int64_t t = 0; t < tokens; ++t) {
    double sum = 0;
    for (int64_t v = 0; v < vocab; ++v)
      sum += std::exp(rows.f32()[t * vocab + v] = float(1.5 * common[size_t(v)] + 1.5 * random.normal()));
    for (int64_t v = 0; v < vocab; ++v) rows.f32()[t * vocab + v] -= float(std::log(sum));
  }
  return rows;
}

// The distribution that one row of a reduced form stands for, without its tail.
std::vector<double> spread(const TeacherRows& rows, int64_t t, int64_t vocab) {
  std::vector<double> p(static_cast<size_t>(vocab));
  for (int64_t i = t * rows.k; i < (t + 1) * rows.k; ++i)
    p[size_t(rows.ids[size_t(i)])] += double(rows.weights[size_t(i)]);
  return p;
}

TEST(TeacherRows, TopKAreTheLikeliestWithTheRestInTheTail) {
  const Tensor p = random_rows(20, 50, 1);
  const TeacherRows rows = reduce_rows(p.matrix(), {.kind = TeacherKind::top_k, .k = 8}, 0);
  for (int64_t t = 0; t < 20; ++t) {
    double sum = double(rows.tail[size_t(t)]);
    std::vector<float> sorted(p.f32() + t * 50, p.f32() + (t + 1) * 50);
    std::ranges::sort(sorted, std::greater<>());
    for (int64_t i = 0; i < 8; ++i) {
      const auto at = size_t(t * 8 + i);
      EXPECT_EQ(p.f32()[t * 50 + rows.ids[at]], sorted[size_t(i)]);
      EXPECT_NEAR(rows.weights[at], std::exp(sorted[size_t(i)]), 1e-6);
      sum += double(rows.weights[at]);
    }
    EXPECT_NEAR(sum, 1, 1e-6);
    EXPECT_GT(rows.tail[size_t(t)], 0);
  }
}

// The mean over n independent seeds of k draws has a standard deviation of sqrt(p (1 - p) / (n k)): 6 of
// them, over 50 tokens, are passed by chance less than once in 10^7 runs, and the seeds are fixed.
double worst_deviation(const Tensor& p, const std::vector<double>& mean, double draws) {
  double worst = 0;
  for (size_t v = 0; v < mean.size(); ++v) {
    const double is = std::exp(double(p.f32()[v]));
    worst = std::max(worst, std::abs(mean[v] - is) / std::sqrt(is * (1 - is) / draws));
  }
  return worst;
}

TEST(TeacherRows, SamplesAreUnbiasedAndTopKRenormalisedIsNot) {
  constexpr int kSeeds = 4000, kVocab = 50, kDraws = 12;
  const Tensor p = random_rows(1, kVocab, 2);
  std::vector<double> mean(kVocab);
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const auto rows = reduce_rows(p.matrix(), {.kind = TeacherKind::samples, .k = kDraws, .seed = seed}, 3);
    const auto one = spread(rows, 0, kVocab);
    EXPECT_NEAR(std::accumulate(one.begin(), one.end(), 0.0), 1, 1e-6);
    for (size_t v = 0; v < one.size(); ++v) mean[v] += one[v] / kSeeds;
  }
  EXPECT_LT(worst_deviation(p, mean, double(kSeeds) * kDraws), 6);
  // The control: as many places, renormalised, fail the same check.
  const TeacherRows top = reduce_rows(p.matrix(), {.kind = TeacherKind::top_k, .k = kDraws}, 3);
  std::vector<double> renormalised = spread(top, 0, kVocab);
  for (double& v : renormalised) v /= 1 - double(top.tail[0]);
  EXPECT_GT(worst_deviation(p, renormalised, double(kSeeds) * kDraws), 6);
}

TEST(TeacherRows, TheMeterTellsBiasFromNoise) {
  constexpr int64_t kTokens = 2000, kVocab = 60;
  const Tensor p = random_rows(kTokens, kVocab, 4);
  const auto measure = [&](const TeacherForm& form, bool renormalise) {
    TeacherRows rows = reduce_rows(p.matrix(), form, 0);
    for (int64_t t = 0; t < kTokens && renormalise; ++t) {
      for (int64_t i = 0; i < rows.k; ++i) rows.weights[size_t(t * rows.k + i)] /= 1 - rows.tail[size_t(t)];
      rows.tail[size_t(t)] = 0;
    }
    TeacherLossMeter meter(kVocab, form);
    meter.add(p.matrix(), rows);
    return meter.result();
  };
  const TeacherLoss top = measure({.kind = TeacherKind::top_k, .k = 8}, false);
  const TeacherLoss renormalised = measure({.kind = TeacherKind::top_k, .k = 8}, true);
  const TeacherLoss samples = measure({.kind = TeacherKind::samples, .k = 8}, false);
  EXPECT_EQ(top.rows, kTokens);
  EXPECT_LT(std::abs(top.divergence), 1e-6);
  EXPECT_LT(top.bias, 1e-6);
  EXPECT_GT(top.tail, 0.05);
  EXPECT_GT(renormalised.divergence, top.tail);  // the mean of -log(1 - tail)
  EXPECT_LT(samples.bias, 1.2 * samples.bias_of_noise);
  EXPECT_GT(renormalised.bias, 1.2 * renormalised.bias_of_noise);
}

TEST(TeacherRows, BadRowsAreNamed) {
  Tensor p = random_rows(3, 10, 5);
  const auto refused = [&](const TeacherForm& form) {
    return error_of([&] { reduce_rows(p.matrix(), form, 0); });
  };
  EXPECT_THAT(refused({.k = 0}), HasSubstr("0 probabilities a token; expected 1 to 10"));
  EXPECT_THAT(refused({.k = 11}), HasSubstr("expected 1 to 10"));
  EXPECT_THAT(refused({.kind = TeacherKind::samples, .k = 256}),
              HasSubstr("256 draws a token; expected 1 to 255"));
  p.f32()[15] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(refused({.k = 4}), AllOf(HasSubstr("row 1"), HasSubstr("nan")));
  p.f32()[15] = 3;
  EXPECT_THAT(refused({.k = 4}), AllOf(HasSubstr("row 1"), HasSubstr("expected 1")));
}

class TeacherCacheTest : public testing::TestWithParam<TeacherKind> {
 protected:
  static constexpr int64_t kCount = 70, kVocab = 90;
  TeacherKey key() const {
    return {.teacher = "t1",
            .sequences = "s1",
            .count = kCount,
            .vocab = kVocab,
            .form = {.kind = GetParam(), .k = 12, .seed = 9},
            .tool_version = "1"};
  }
  static Tensor rows(int64_t sequence) { return random_rows(5 + sequence % 3, kVocab, uint64_t(sequence)); }
  void fill(const std::string& folder, int64_t end) const {
    TeacherCacheWriter writer(folder, key());
    while (writer.done() < end) writer.add(rows(writer.done()).matrix());
  }

  TempDir dir_;
  std::string folder_ = dir_.file("teacher");
};

TEST_P(TeacherCacheTest, GivesBackWhatWasKept) {
  fill(folder_, kCount);
  const TeacherCache cache(folder_, key());
  for (const int64_t s : {int64_t(69), int64_t(0), int64_t(31), int64_t(32), int64_t(64)}) {
    const TeacherRows kept = reduce_rows(rows(s).matrix(), key().form, s), read = cache.read(s);
    EXPECT_EQ(read.ids, kept.ids);
    ASSERT_EQ(read.weights.size(), kept.weights.size());
    // f16 rounds by a share of 2^-11 at most, numbers below 2^-14 by 2^-25; the row is scaled by as much.
    for (size_t i = 0; i < kept.weights.size(); ++i)
      EXPECT_NEAR(read.weights[i], kept.weights[i], double(kept.weights[i]) * 0x1p-10 + 0x1p-24);
    for (size_t t = 0; t < kept.tail.size(); ++t)
      EXPECT_NEAR(read.tail[t], kept.tail[t], double(kept.tail[t]) * 0x1p-10 + 0x1p-24);
  }
  EXPECT_GT(cache.bytes(), 0);
}

TEST_P(TeacherCacheTest, AnInterruptedOneGoesOnAndEndsInTheSameBytes) {
  const std::string whole = dir_.file("whole");
  fill(whole, kCount);
  fill(folder_, 45);  // 13 of them were in memory only
  EXPECT_THAT(error_of([&] { const TeacherCache cache(folder_, key()); }), HasSubstr("32 of 70 sequences"));
  dir_.write("teacher/part-00000032.h5.partial", "half a file");  // what a kill leaves
  EXPECT_EQ(TeacherCacheWriter(folder_, key()).done(), 32);
  fill(folder_, kCount);
  for (const char* part : {"part-00000000.h5", "part-00000032.h5", "part-00000064.h5"})
    EXPECT_EQ(read_text_file(folder_ + "/" + part), read_text_file(whole + "/" + part)) << part;
  EXPECT_EQ(TeacherCache(folder_, key()).read(40).ids, TeacherCache(whole, key()).read(40).ids);
}

TEST_P(TeacherCacheTest, AnotherKeyIsRefusedByItsField) {
  fill(folder_, kCount);
  const auto refused = [&](auto change) {
    TeacherKey other = key();
    change(other);
    std::string reading = error_of([&] { const TeacherCache cache(folder_, other); });
    EXPECT_EQ(error_of([&] { const TeacherCacheWriter writer(folder_, other); }), reading);
    return reading;
  };
  EXPECT_THAT(refused([](TeacherKey& k) { k.teacher = "t2"; }),
              HasSubstr("another teacher: found t1, expected t2"));
  EXPECT_THAT(refused([](TeacherKey& k) { k.sequences = "s2"; }), HasSubstr("found s1, expected s2"));
  EXPECT_THAT(refused([](TeacherKey& k) { k.count = 71; }), HasSubstr("found 70, expected 71"));
  EXPECT_THAT(refused([](TeacherKey& k) { k.vocab = 91; }), HasSubstr("vocab: found 90, expected 91"));
  EXPECT_THAT(refused([](TeacherKey& k) { k.form.k = 13; }), HasSubstr("k: found 12, expected 13"));
  EXPECT_THAT(refused([](TeacherKey& k) { k.form.seed = 8; }), HasSubstr("seed: found 9, expected 8"));
  EXPECT_THAT(refused([](TeacherKey& k) { k.tool_version = "2"; }),
              HasSubstr("tool_version: found 1, expected 2"));
  EXPECT_THAT(refused([](TeacherKey& k) {
                k.form.kind = k.form.kind == TeacherKind::top_k ? TeacherKind::samples : TeacherKind::top_k;
              }),
              HasSubstr("another kind"));
}

TEST_P(TeacherCacheTest, DamageIsFoundAndNamed) {
  fill(folder_, kCount);
  const std::string path = folder_ + "/part-00000032.h5", whole = read_text_file(path);
  int refused = 0, trials = 0;
  for (size_t at = 600; at < whole.size(); at += whole.size() / 40, ++trials) {
    std::string damaged = whole;
    damaged[at] = char(damaged[at] ^ 0x55);
    dir_.write("teacher/part-00000032.h5", damaged);
    try {
      const TeacherCache cache(folder_, key());
      for (int64_t s = 32; s < 64; ++s) {
        const TeacherRows read = cache.read(s);
        EXPECT_EQ(read.ids, reduce_rows(rows(s).matrix(), key().form, s).ids);  // a byte that nobody reads
      }
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("part-00000032.h5"));
      ++refused;
    }
  }
  EXPECT_GT(refused, trials / 2);
  dir_.write("teacher/part-00000032.h5", whole.substr(0, whole.size() / 2));
  EXPECT_THAT(error_of([&] { const TeacherCache cache(folder_, key()); }), HasSubstr("part-00000032.h5"));
  dir_.write("teacher/part-00000032.h5", "no HDF5");
  EXPECT_THAT(error_of([&] { const TeacherCacheWriter writer(folder_, key()); }),
              HasSubstr("part-00000032.h5"));
}

TEST_P(TeacherCacheTest, BadRowsAreRefusedAndLeaveNothing) {
  TeacherCacheWriter writer(folder_, key());
  EXPECT_THAT(error_of([&] { writer.add(random_rows(3, 91, 1).matrix()); }),
              AllOf(HasSubstr("91"), HasSubstr("90")));
  Tensor broken = random_rows(3, kVocab, 1);
  broken.f32()[4] = 7;
  EXPECT_THAT(error_of([&] { writer.add(broken.matrix()); }), HasSubstr("sequence 0: row 0"));
  EXPECT_EQ(writer.done(), 0);
  TeacherKey other = key();
  other.vocab = 1;
  EXPECT_THAT(error_of([&] { const TeacherCacheWriter w(folder_, other); }), HasSubstr("a vocabulary of 1"));
}

INSTANTIATE_TEST_SUITE_P(Kinds, TeacherCacheTest, testing::Values(TeacherKind::top_k, TeacherKind::samples),
                         [](const auto& info) {
                           return info.param == TeacherKind::top_k ? "TopK" : "Samples";
                         });

}  // namespace
}  // namespace edgeq
