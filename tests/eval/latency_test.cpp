// SPDX-License-Identifier: Apache-2.0
#include "eval/latency.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "tests/support/message.h"

namespace edgeq {
namespace {

// Takes a known time: per feed, so that prefill and decode differ.
constexpr std::chrono::milliseconds kFeedTime{4};

class SlowSession final : public Session {
 public:
  SlowSession(std::vector<size_t>& feeds, int64_t room) : feeds_(feeds), room_(room) {}
  MatrixView<const float> feed(std::span<const TokenId> tokens, Logits) override {
    std::this_thread::sleep_for(kFeedTime);
    feeds_.push_back(tokens.size());
    length_ += std::ssize(tokens);
    check_room(0, length_, room_);
    return {};
  }
  void truncate(int64_t tokens) override { length_ = tokens; }
  int64_t length() const override { return length_; }

 private:
  std::vector<size_t>& feeds_;
  int64_t room_, length_ = 0;
};

class SlowModel final : public LanguageModel {
 public:
  SlowModel() { config_.vocab = 10; }
  const ModelConfig& config() const override { return config_; }
  int64_t weight_bytes() const override { return 5000; }
  int64_t weight_bytes_per_token() const override { return 3000; }
  int64_t kv_bytes_per_token() const override { return 10; }
  std::unique_ptr<Session> start(const SessionOptions& options) const override {
    return std::make_unique<SlowSession>(feeds, options.max_tokens);
  }
  mutable std::vector<size_t> feeds;

 private:
  ModelConfig config_;
};

TEST(Latency, TimesThePromptInOneFeedAndTheRestTokenByToken) {
  const SlowModel model;
  const Latency latency =
      measure_latency(model, {.prompt_tokens = 6, .tokens = 4, .repeats = 2, .threads = 1});
  EXPECT_EQ(model.feeds, (std::vector<size_t>{1, 1, 6, 1, 1, 1, 1, 6, 1, 1, 1, 1}));
  // A sleep lasts at least as long as asked for; how much longer depends on the machine's load.
  const double feed_ms = double(kFeedTime.count());
  EXPECT_LE(latency.prefill_tokens_per_second, 6 * 1e3 / feed_ms);
  EXPECT_LE(latency.decode_tokens_per_second, 1e3 / feed_ms);
  EXPECT_GT(latency.prefill_tokens_per_second, latency.decode_tokens_per_second);
  EXPECT_GE(latency.first_token_ms, 2 * feed_ms);
  EXPECT_GE(latency.token_ms_p50, feed_ms);
  EXPECT_GE(latency.token_ms_p99, latency.token_ms_p50);
}

TEST(Latency, CountsWeightsOnceAndTheCacheAtHalfTheRun) {
  const SlowModel model;
  const Latency latency =
      measure_latency(model, {.prompt_tokens = 6, .tokens = 4, .repeats = 1, .threads = 1});
  EXPECT_EQ(latency.bytes_per_token, 3000 + 10 * (6 + 2));
  EXPECT_DOUBLE_EQ(latency.decode_bytes_per_second,
                   latency.bytes_per_token * latency.decode_tokens_per_second);
  EXPECT_GT(latency.read_bandwidth, 0);
}

TEST(Latency, RefusesToMeasureNothing) {
  const SlowModel model;
  EXPECT_EQ(error_of([&] { measure_latency(model, {.prompt_tokens = 0}); }),
            "the number of prompt tokens is 0, expected at least 1");
  EXPECT_EQ(error_of([&] { measure_latency(model, {.repeats = 0}); }),
            "the number of repeats is 0, expected at least 1");
}

TEST(Bandwidth, IsThatOfAMachineOfThisWorld) {
  for (const int threads : {1, 2}) {
    const double rate = probe_read_bandwidth(32 << 20, threads);
    EXPECT_GT(rate, 1e8) << threads;
    EXPECT_LT(rate, 1e13) << threads;
  }
}

}  // namespace
}  // namespace edgeq
