// SPDX-License-Identifier: Apache-2.0
#include "eval/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace edgeq {
namespace {

// A bigram model with chosen probabilities: the logits of the next token depend on the last token alone, so
// every figure has a closed form.
class Bigram final : public LanguageModel {
 public:
  explicit Bigram(std::vector<std::vector<float>> probabilities) : p_(std::move(probabilities)) {
    config_.vocab = int64_t(p_.size());
  }
  const ModelConfig& config() const override { return config_; }
  int64_t weight_bytes() const override { return 0; }
  int64_t kv_bytes_per_token() const override { return 0; }
  std::unique_ptr<Session> start(const SessionOptions&) const override { return std::make_unique<Chain>(p_); }

 private:
  class Chain final : public Session {
   public:
    explicit Chain(const std::vector<std::vector<float>>& p) : p_(p) {}
    MatrixView<const float> feed(std::span<const TokenId> tokens, Logits) override {
      const auto vocab = p_.size();
      logits_.assign(tokens.size() * vocab, 0);
      for (size_t t = 0; t < tokens.size(); ++t)
        for (size_t v = 0; v < vocab; ++v)  // logits are defined up to a constant: shift each row
          logits_[t * vocab + v] = std::log(p_[size_t(tokens[t])][v]) + 3.0f * float(t % 5);
      length_ += int64_t(tokens.size());
      return {logits_.data(), int64_t(tokens.size()), int64_t(vocab)};
    }
    void truncate(int64_t tokens) override { length_ = tokens; }
    int64_t length() const override { return length_; }

   private:
    const std::vector<std::vector<float>>& p_;
    std::vector<float> logits_;
    int64_t length_ = 0;
  };
  std::vector<std::vector<float>> p_;
  ModelConfig config_;
};

const std::vector<std::vector<float>> kReference{{0.7f, 0.2f, 0.1f}, {0.1f, 0.8f, 0.1f}, {0.3f, 0.3f, 0.4f}};
const std::vector<std::vector<float>> kModel{{0.2f, 0.7f, 0.1f}, {0.1f, 0.8f, 0.1f}, {0.3f, 0.3f, 0.4f}};

Windows window_of(std::vector<TokenId> tokens) { return {int64_t(tokens.size()), std::move(tokens)}; }

// Logits are floats: a probability carries a relative error of a few 2^-24 times |logit| < 8.
constexpr double kTolerance = 1e-5;

TEST(Perplexity, EqualsTheClosedFormOfABigramModel) {
  const Bigram model(kModel);
  const Windows windows = window_of({0, 1, 1, 2, 0, 0, 2, 1});
  const TextQuality q = measure_text_quality(model, nullptr, windows, {});
  // Predictions: 0>1 .7, 1>1 .8, 1>2 .1, 2>0 .3 | second half, i >= 4: 0>0 .2, 0>2 .1, 2>1 .3
  EXPECT_NEAR(q.perplexity, std::pow(.2 * .1 * .3, -1.0 / 3), kTolerance * q.perplexity);
  EXPECT_NEAR(q.perplexity_all, std::pow(.7 * .8 * .1 * .3 * .2 * .1 * .3, -1.0 / 7),
              kTolerance * q.perplexity_all);
  EXPECT_EQ(q.predictions, 3);
  EXPECT_FALSE(q.divergence.has_value());
}

TEST(Perplexity, DivergenceEqualsTheClosedForm) {
  const Bigram model(kModel), reference(kReference);
  const Windows windows = window_of({2, 2, 2, 2, 0, 1, 0, 2});
  const TextQuality q = measure_text_quality(model, &reference, windows, {});
  const double row0 =
      .7 * std::log(.7 / .2) + .2 * std::log(.2 / .7);  // scored contexts: 0, 1, 0; row 1 is equal
  ASSERT_TRUE(q.divergence);
  EXPECT_THAT(q.divergence->kl,
              testing::ElementsAre(testing::FloatNear(float(row0), 1e-5f), testing::FloatNear(0, 1e-6f),
                                   testing::FloatNear(float(row0), 1e-5f)));
  EXPECT_NEAR(q.divergence->kl_mean, 2 * row0 / 3, kTolerance);
  EXPECT_NEAR(q.divergence->kl_max, row0, kTolerance);
  EXPECT_NEAR(q.divergence->top1_agreement, 1.0 / 3, 1e-12);
  EXPECT_NEAR(q.reference_perplexity, std::pow(.2 * .1 * .1, -1.0 / 3), kTolerance * q.reference_perplexity);
}

TEST(Perplexity, AModelDoesNotDivergeFromItself) {
  const Bigram model(kModel);
  const TextQuality q = measure_text_quality(model, &model, window_of({0, 1, 2, 0, 1, 2, 0, 1}), {});
  EXPECT_EQ(q.divergence->kl_max, 0);
  EXPECT_EQ(q.divergence->top1_agreement, 1);
  EXPECT_EQ(q.perplexity, q.reference_perplexity);
}

TEST(Perplexity, LongWindowsAreFedInPiecesWithoutAChange) {
  std::vector<TokenId> tokens(400);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = TokenId(i * i % 3);
  const Bigram model(kModel);
  double nll = 0;
  for (size_t i = 200; i + 1 < tokens.size(); ++i)
    nll -= std::log(kModel[size_t(tokens[i])][size_t(tokens[i + 1])]);
  const TextQuality q = measure_text_quality(model, nullptr, window_of(tokens), {});
  EXPECT_NEAR(q.perplexity, std::exp(nll / 199), kTolerance * q.perplexity);
}

TEST(Perplexity, RefusesAnotherVocabulary) {
  const Bigram model(kModel), reference({{.5f, .5f}, {.5f, .5f}});
  EXPECT_THAT(
      [&] {
        measure_text_quality(model, &reference, window_of({0, 1, 0, 1}), {});
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("3 tokens and the reference 2")));
}

TEST(Perplexity, RefusesLogitsThatAreNotFinite) {
  auto broken = kModel;
  broken[1][0] = -1;  // log of a negative number
  EXPECT_THAT(
      [&] {
        measure_text_quality(Bigram(broken), nullptr, window_of({1, 1, 1, 1, 1, 1}), {});
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("not finite")));
}

}  // namespace
}  // namespace edgeq
