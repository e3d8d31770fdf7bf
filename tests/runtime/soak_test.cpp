// SPDX-License-Identifier: Apache-2.0
// Random requests through the batched engine: lengths, beginnings in common, ends, cancellations, pools too
// small for all, requests too large for any. Each answer is that of the request alone. EDGEQ_SOAK_SECONDS
// says for how long; ./dev soak runs it long, with sanitizers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>

#include "core/error.h"
#include "core/random.h"
#include "core/timer.h"
#include "models/import.h"
#include "runtime/kv_cache.h"
#include "runtime/runtime.h"
#include "runtime/sampler.h"

namespace edgeq {
namespace {

struct Case {
  std::vector<TokenId> prompt, answer;
  int64_t tokens = 0, ends_after = 0;
};

// What the model says alone, as far as the batch let it.
std::vector<TokenId> alone(const LanguageModel& model, const Case& one) {
  const auto session = model.start({.max_tokens = std::ssize(one.prompt) + one.tokens});
  std::vector<TokenId> answer;
  MatrixView<const float> logits = session->feed(one.prompt, Logits::last);
  while (answer.size() < one.answer.size()) {
    answer.push_back(best_token({logits.data, size_t(logits.cols)}));
    logits = session->feed(std::span(answer).last(1), Logits::last);
  }
  return answer;
}

class Soak : public testing::Test {
 protected:
  const std::unique_ptr<Checkpoint> checkpoint_ =
      open_checkpoint(std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama");
  Random random_{uint64_t(1)};

  int64_t below(int64_t n) { return int64_t(random_.below(uint64_t(n))); }
  bool one_in(int64_t n) { return below(n) == 0; }
  std::vector<TokenId> draw(int64_t count) {
    std::vector<TokenId> tokens;
    for (int64_t i = 0; i < count; ++i) tokens.push_back(TokenId(below(checkpoint_->config().vocab)));
    return tokens;
  }

  // One batch with its requests; returns how many there were.
  int64_t round(const LanguageModel& model);
};

int64_t Soak::round(const LanguageModel& model) {
  const int64_t pages = 3 + below(16), count = 4 + below(12);
  const auto batch = model.start_batch(
      {.sequences = 1 + below(8), .pool_tokens = pages * KvCache::kPage, .share_prefixes = !one_in(4)});
  const std::vector<TokenId> common = draw(90);
  std::map<int64_t, Case> cases;  // by request; where `next` writes to stays where it is
  for (int64_t i = 0; i < count; ++i) {
    Case made{.prompt = draw(1 + below(one_in(3) ? 100 : 20)), .answer = {}, .tokens = 1 + below(40)};
    if (one_in(2)) made.prompt.insert(made.prompt.begin(), common.begin(), common.begin() + below(91));
    made.ends_after = one_in(4) ? below(10) : made.tokens;
    const int64_t room = std::ssize(made.prompt) + made.tokens - 1;
    Case& kept = cases[i] = std::move(made);
    const auto submit = [&] {
      return batch->submit({.prompt = kept.prompt,
                            .tokens = kept.tokens,
                            .next = [&kept](std::span<const float> logits) -> std::optional<TokenId> {
                              if (std::ssize(kept.answer) == kept.ends_after) return std::nullopt;
                              kept.answer.push_back(best_token(logits));
                              return kept.answer.back();
                            }});
    };
    if (KvLayout::pages_of(room) > pages) {
      EXPECT_THROW(submit(), Error);
      kept.ends_after = 0;
      continue;
    }
    const int64_t id = submit();
    for (int64_t steps = below(20); steps > 0; --steps) batch->step();
    if (one_in(10)) {
      batch->cancel(id);
      kept.ends_after = std::ssize(kept.answer);
    }
  }
  while (batch->step()) {
  }
  EXPECT_EQ(batch->stats().free_pages, batch->stats().pool_pages);
  for (const auto& [i, one] : cases) {
    EXPECT_EQ(std::ssize(one.answer), std::min(one.tokens, one.ends_after)) << i;
    EXPECT_EQ(one.answer, alone(model, one)) << i;
  }
  return count;
}

TEST_F(Soak, RandomRequestsGetTheAnswersThatTheyGetAlone) {
  const char* text = std::getenv("EDGEQ_SOAK_SECONDS");
  const double seconds = text == nullptr ? 2 : std::atof(text);
  std::vector<std::unique_ptr<LanguageModel>> models;
  for (const char* kv : {"f32", "k8v8", "k16v4"})
    for (const int threads : {1, 2})
      models.push_back(open_float_runtime(*checkpoint_, {.threads = threads, .kv = parse_kv_scheme(kv)}));
  const Timer timer;
  int64_t rounds = 0, requests = 0;
  do {
    requests += round(*models[size_t(rounds++) % models.size()]);
  } while (timer.seconds() < seconds && !HasFailure());
  RecordProperty("requests", std::to_string(requests));
  if (text != nullptr) std::printf("%ld requests in %ld batches\n", long(requests), long(rounds));
}

}  // namespace
}  // namespace edgeq
