// SPDX-License-Identifier: Apache-2.0
#include "distill/kept_divergence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/random.h"
#include "distill/losses.h"
#include "distill/spec.h"
#include "distill/teacher_cache.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

at::Tensor noise(int64_t rows, int64_t cols, uint64_t seed, double size) {
  Random random(seed);
  at::Tensor tensor = at::empty({rows, cols}, at::kFloat);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data_ptr<float>()[i] = float(size * random.normal());
  return tensor;
}

MatrixView<const float> view(const at::Tensor& x) { return {x.data_ptr<float>(), x.size(0), x.size(1)}; }

constexpr int64_t kRows = 37, kVocab = 50;

// Teacher and student, the student with columns that the teacher does not have.
class KeptDivergence : public testing::Test {
 protected:
  at::Tensor log_p_ = at::log_softmax(noise(kRows, kVocab, 1, 2), -1);
  at::Tensor logits_ = noise(kRows, kVocab + 4, 2, 2);

  TeacherRows kept(TeacherKind kind, int64_t k, uint64_t seed = 0) const {
    return reduce_rows(view(log_p_), {.kind = kind, .k = k, .seed = seed}, 0);
  }
  std::pair<double, at::Tensor> taken(const TeacherRows& rows, TeacherKind kind, double factor = 1) const {
    at::Tensor gradient = at::zeros({kRows, kVocab + 4}, at::kFloat);
    const double loss = add_kept_divergence(rows, kind, logits_, kVocab, factor, gradient);
    return {loss, gradient};
  }
  std::pair<double, at::Tensor> live() const {
    at::Tensor gradient = at::zeros({kRows, kVocab + 4}, at::kFloat);
    const double loss = add_divergence({.kind = LossKind::forward_kl}, logits_, log_p_, kVocab, 1, gradient);
    return {loss, gradient};
  }
};

// The formula of the header in double, by autograd.
at::Tensor by_definition(const TeacherRows& rows, TeacherKind kind, const at::Tensor& z) {
  const at::Tensor q = at::softmax(z.narrow(1, 0, kVocab), -1);
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (int64_t t = 0; t < rows.tokens; ++t) {
    at::Tensor rest = at::ones({}, at::kDouble);
    for (int64_t i = t * rows.k; i < (t + 1) * rows.k; ++i) {
      const auto p = double(rows.weights[size_t(i)]);
      if (p == 0) continue;
      const at::Tensor of_q = q[t][rows.ids[size_t(i)]];
      sum = sum - p * of_q.log() + (kind == TeacherKind::top_k ? p * std::log(p) : 0.0);
      rest = rest - of_q;
    }
    const auto tail = double(rows.tail[size_t(t)]);
    if (tail > 0) sum = sum + tail * (std::log(tail) - rest.log());
  }
  return sum;
}

// f32 against double over 50 tokens: sums of terms below 1, each with a rounding error of some 1e-7.
constexpr double kF32 = 1e-5;

TEST_F(KeptDivergence, HasTheValueAndTheGradientOfItsDefinition) {
  for (const TeacherKind kind : {TeacherKind::top_k, TeacherKind::samples}) {
    const TeacherRows rows = kept(kind, 9);
    const at::Tensor z = logits_.to(at::kDouble).requires_grad_(true);
    const at::Tensor expected = by_definition(rows, kind, z);
    expected.backward();
    const auto [loss, gradient] = taken(rows, kind, 0.5);
    EXPECT_NEAR(loss / expected.item<double>(), 1, kF32);
    EXPECT_LT((gradient - 0.5 * z.grad()).abs().max().item<double>(), kF32);
    // The same check fails where the tail's mass is left out of top-k, or a draw is moved: it can.
    TeacherRows wrong = rows;
    wrong.tail.assign(wrong.tail.size(), 0.0F);
    wrong.ids[0] = (wrong.ids[0] + 1) % 8;
    EXPECT_GT(std::abs(taken(wrong, kind).first / expected.item<double>() - 1), 10 * kF32);
  }
}

// What a cache reads back is p' = p (1 + e) with |e| <= 2^-10 (teacher_cache_test.cpp), of numbers below
// 2^-14 at most 2^-24 more. D(p', q) - D(p, q) = sum p e log(p / q) + p (1 + e) log(1 + e), so that
// |difference| <= sum_v d_v (1 + |log(p_v / q_v)|) to first order, d_v = p_v 2^-10 + 2^-24; the gradients
// q - p' and q - p differ by d_v.
TEST_F(KeptDivergence, OfAllTokensIsTheForwardKlUpToTheRoundingOfTheStore) {
  const TempDir dir;
  const TeacherKey key{.teacher = "t",
                       .sequences = "s",
                       .count = 1,
                       .vocab = kVocab,
                       .form = {.kind = TeacherKind::top_k, .k = kVocab},
                       .tool_version = "1"};
  TeacherCacheWriter(dir.file("cache"), key).add(view(log_p_));
  const TeacherRows rows = TeacherCache(dir.file("cache"), key).read(0);
  const at::Tensor lp = log_p_.to(at::kDouble),
                   lq = at::log_softmax(logits_.narrow(1, 0, kVocab).to(at::kDouble), -1);
  const at::Tensor d = lp.exp() * 0x1p-10 + 0x1p-24;
  const auto [expected, slope] = live();
  const auto [loss, gradient] = taken(rows, TeacherKind::top_k);
  EXPECT_LE(std::abs(loss - expected), (d * (1 + (lp - lq).abs())).sum().item<double>() + kF32 * expected);
  EXPECT_LE(((gradient - slope).abs().narrow(1, 0, kVocab) - d).max().item<double>(), kF32);
  // With 40 of 50 kept the bound is left: what the others are among themselves is lost.
  EXPECT_GT(expected - taken(kept(TeacherKind::top_k, 40), TeacherKind::top_k).first,
            (d * (1 + (lp - lq).abs())).sum().item<double>());
}

// Over n seeds of k draws the mean gradient of a token has a standard deviation of sqrt(p (1 - p) / (n k))
// about q - p. Of tokens that 20 draws or more are expected of, 6 of them are passed less than once in 10^6
// (Poisson); the seeds are fixed.
TEST_F(KeptDivergence, HasTheLiveGradientInTheMeanOverDraws) {
  constexpr int kSeeds = 400, kDraws = 12;
  at::Tensor mean = at::zeros({kRows, kVocab + 4}, at::kFloat);
  for (uint64_t seed = 0; seed < kSeeds; ++seed)
    mean += taken(kept(TeacherKind::samples, kDraws, seed), TeacherKind::samples, 1.0 / kSeeds).second;
  const at::Tensor p = log_p_.exp();
  const at::Tensor deviation = (p * (1 - p) / double(kSeeds * kDraws)).sqrt();
  const auto worst = [&](const at::Tensor& gradient) {
    const at::Tensor difference = (gradient - live().second).abs().narrow(1, 0, kVocab);
    const at::Tensor often = p * double(kSeeds * kDraws) >= 20;
    return (difference / deviation * often).max().item<double>();
  };
  EXPECT_LT(worst(mean), 6);
  // The control: as many places of top-k, renormalised, fail the same check.
  TeacherRows top = kept(TeacherKind::top_k, kDraws);
  for (int64_t i = 0; i < kRows * kDraws; ++i) top.weights[size_t(i)] /= 1 - top.tail[size_t(i / kDraws)];
  EXPECT_GT(worst(taken(top, TeacherKind::samples).second), 6);
}

// The tail of a student that is sure of what is kept underflows; nothing becomes infinite.
TEST_F(KeptDivergence, IsFiniteWhereTheStudentLeavesNothingToTheTail) {
  TeacherRows rows = kept(TeacherKind::top_k, 3);
  logits_.fill_(-200);
  for (int64_t t = 0; t < kRows; ++t) logits_[t][rows.ids[size_t(3 * t)]] = 200;
  const auto [loss, gradient] = taken(rows, TeacherKind::top_k);
  EXPECT_TRUE(std::isfinite(loss));
  EXPECT_TRUE(at::isfinite(gradient).all().item<bool>());
}

TEST(CachedTeacherSpec, RefusesLossesThatItWouldBend) {
  const auto refused = [](const LossTerm& term, bool teacher = true) {
    const TrainSpec spec{.losses = {term}, .teacher_cache = TeacherForm{.k = 64}, .tokens = 1};
    return error_of([&] { validate(spec, teacher); });
  };
  for (const LossKind kind : {LossKind::forward_kl, LossKind::cross_entropy})
    EXPECT_NO_THROW(
        validate({.losses = {{.kind = kind}}, .teacher_cache = TeacherForm{.k = 64}, .tokens = 1}, true));
  for (const LossKind kind :
       {LossKind::reverse_kl, LossKind::js, LossKind::skewed_kl, LossKind::skewed_reverse_kl})
    EXPECT_THAT(refused({.kind = kind}), HasSubstr("needs the probability of every token, and top_k 64"));
  for (const LossKind kind : {LossKind::hidden, LossKind::relation})
    EXPECT_THAT(refused({.kind = kind}), HasSubstr("looks inside the teacher"));
  EXPECT_THAT(refused({.kind = LossKind::forward_kl, .temperature = 2}), HasSubstr("its temperature is 2"));
  EXPECT_THAT(refused({.kind = LossKind::cross_entropy}, false), HasSubstr("no teacher whose predictions"));
}

}  // namespace
}  // namespace edgeq
