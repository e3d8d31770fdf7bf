// SPDX-License-Identifier: Apache-2.0
#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

#include "tests/support/message.h"

namespace edgeq {
namespace {

// Logits of given probabilities.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(float(std::log(p)));
  return logits;
}

std::map<TokenId, int> draw(const SamplerOptions& options, const std::vector<float>& logits, int count) {
  Sampler sampler(options);
  std::map<TokenId, int> seen;
  for (int i = 0; i < count; ++i) ++seen[sampler.next(logits)];
  return seen;
}

TEST(Sampler, GreedyTakesTheHighestLogitAndTheLowestIdOnATie) {
  Sampler sampler({});
  EXPECT_EQ(sampler.next(std::vector<float>{0, 3, 1, 3}), 1);
  EXPECT_EQ(sampler.next(std::vector<float>{-5}), 0);
}

// A binomial count of n draws has the standard deviation sqrt(n p (1 - p)); five of them are allowed.
void expect_shares(const std::map<TokenId, int>& seen, const std::vector<double>& expected) {
  int draws = 0;
  for (const auto& [token, count] : seen) draws += count;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double mean = draws * expected[i], deviation = std::sqrt(mean * (1 - expected[i]));
    const auto found = seen.find(TokenId(i));
    EXPECT_NEAR(found == seen.end() ? 0 : found->second, mean, 5 * deviation) << "token " << i;
  }
}

TEST(Sampler, TemperatureOneDrawsTheModelsProbabilities) {
  expect_shares(draw({.temperature = 1, .seed = 3}, logits_of({0.5, 0.2, 0.3}), 20000), {0.5, 0.2, 0.3});
}

TEST(Sampler, TemperatureSharpens) {
  // p^2 normalised: 0.25, 0.04, 0.09 over 0.38
  expect_shares(draw({.temperature = 0.5, .seed = 4}, logits_of({0.5, 0.2, 0.3}), 20000),
                {0.25 / 0.38, 0.04 / 0.38, 0.09 / 0.38});
}

TEST(Sampler, TopKKeepsTheBestAndRenormalises) {
  expect_shares(draw({.temperature = 1, .top_k = 2, .seed = 5}, logits_of({0.5, 0.2, 0.3}), 20000),
                {0.5 / 0.8, 0, 0.3 / 0.8});
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits = logits_of({0.1, 0.5, 0.4});
  expect_shares(draw({.temperature = 1, .top_p = 0.85, .seed = 6}, logits, 20000), {0, 0.5 / 0.9, 0.4 / 0.9});
  expect_shares(draw({.temperature = 1, .top_p = 0.45, .seed = 6}, logits, 200), {0, 1, 0});
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.95, .seed = 6}, logits, 20000).size(), 3u);
}

TEST(Sampler, MinPDropsWhatIsFarBelowTheBest) {
  expect_shares(draw({.temperature = 1, .min_p = 0.5, .seed = 7}, logits_of({0.1, 0.5, 0.4}), 20000),
                {0, 0.5 / 0.9, 0.4 / 0.9});
  EXPECT_EQ(draw({.temperature = 1, .min_p = 1, .seed = 7}, logits_of({0.1, 0.5, 0.4}), 100).size(), 1u);
}

TEST(Sampler, ASeedDecidesTheWholeSequence) {
  const std::vector<float> logits(50, 0.0f);
  const auto sequence = [&](uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<TokenId> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(sampler.next(logits));
    return tokens;
  };
  EXPECT_EQ(sequence(9), sequence(9));
  EXPECT_NE(sequence(9), sequence(10));
}

TEST(Sampler, RefusesOptionsOutOfRange) {
  EXPECT_EQ(error_of([] { Sampler sampler({.temperature = -1}); }), "temperature is -1, expected 0 to 100");
  EXPECT_EQ(error_of([] { Sampler sampler({.top_k = -2}); }), "top-k is -2, expected 0 to 2147483648");
  EXPECT_EQ(error_of([] { Sampler sampler({.min_p = 1.5}); }), "min-p is 1.5, expected 0 to 1");
  EXPECT_NE(error_of([] { Sampler sampler({.temperature = std::nan("")}); }), "");
}

}  // namespace
}  // namespace edgeq
