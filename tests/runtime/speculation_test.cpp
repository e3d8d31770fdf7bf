// SPDX-License-Identifier: Apache-2.0
// Speculation gives the text of plain greedy decoding, and rests where it is slower.
#include "runtime/speculation.h"

#include <gtest/gtest.h>

#include <memory>

#include "formats/mapped_file.h"
#include "models/import.h"
#include "runtime/runtime.h"
#include "runtime/sampler.h"
#include "tests/runtime/variants.h"

namespace edgeq {
namespace {

constexpr int64_t kTokens = 48;

std::vector<TokenId> plain(const LanguageModel& model, const std::vector<TokenId>& prompt) {
  const auto session = model.start({.max_tokens = std::ssize(prompt) + kTokens});
  std::vector<TokenId> text = prompt;
  MatrixView<const float> logits = session->feed(prompt, Logits::last);
  while (true) {
    text.push_back(best_token({logits.data, size_t(logits.cols)}));
    if (std::ssize(text) == std::ssize(prompt) + kTokens) return text;
    logits = session->feed(std::span(text).last(1), Logits::last);
  }
}

// A clock by which speculation is always worth it: time stands still.
double no_time() { return 0; }

std::vector<TokenId> speculated(const LanguageModel& model, const std::vector<TokenId>& prompt,
                                Drafter& drafter, SpeculationStats* stats = nullptr) {
  const auto session = model.start({.max_tokens = std::ssize(prompt) + kTokens});
  std::vector<TokenId> text = prompt;
  const MatrixView<const float> logits = session->feed(prompt, Logits::last);
  text.push_back(best_token({logits.data, size_t(logits.cols)}));
  Speculation speculation(*session, drafter, no_time);
  while (std::ssize(text) < std::ssize(prompt) + kTokens) {
    const auto next = speculation.next(text, std::ssize(prompt) + kTokens - std::ssize(text));
    text.insert(text.end(), next.begin(), next.end());
  }
  EXPECT_EQ(session->length(), std::ssize(text) - 1);
  if (stats != nullptr) *stats = speculation.stats();
  return text;
}

// 50 pieces of the held-out text of the repository's model.
class SpeculationOnTinyLlama : public testing::Test {
 protected:
  static constexpr int64_t kPrompts = 50;
  const std::string path_ = std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama";
  const std::unique_ptr<Checkpoint> checkpoint_ = open_checkpoint(path_);

  std::vector<TokenId> prompt(int64_t i) const {
    static const auto file = MappedFile::open(path_ + "/heldout.txt");
    static const std::vector<TokenId> tokens =
        checkpoint_->tokenizer().encode({reinterpret_cast<const char*>(file->bytes().data()),
                                         size_t(std::min<int64_t>(file->size(), 40000))});
    const int64_t length = 5 + i * 3, begin = i * 90;
    return {tokens.begin() + begin, tokens.begin() + begin + length};
  }
};

TEST_F(SpeculationOnTinyLlama, LookupGivesThePlainText) {
  SpeculationStats all;
  for (const char* kv : {"f32", "k8v8"}) {
    const auto model = open_float_runtime(*checkpoint_, {.threads = 2, .kv = parse_kv_scheme(kv)});
    const auto lookup = make_prompt_lookup();
    for (int64_t i = 0; i < kPrompts; ++i) {
      SpeculationStats stats;
      EXPECT_EQ(speculated(*model, prompt(i), *lookup, &stats), plain(*model, prompt(i))) << kv << " " << i;
      all.rounds += stats.rounds;
      all.accepted += stats.accepted;
    }
  }
  EXPECT_GT(all.rounds, 100);
  EXPECT_GT(all.accepted, 0);
}

TEST_F(SpeculationOnTinyLlama, ADraftModelGivesThePlainText) {
  const auto model = open_float_runtime(*checkpoint_, {.threads = 2, .kv = parse_kv_scheme("k4v4")});
  // The same weights, but with other keys and values: right often, not always.
  const auto draft = open_float_runtime(*checkpoint_, {.threads = 1});
  SpeculationStats all;
  for (int64_t i = 0; i < kPrompts; ++i) {
    const auto drafter = make_model_drafter(*draft, std::ssize(prompt(i)) + kTokens);
    SpeculationStats stats;
    EXPECT_EQ(speculated(*model, prompt(i), *drafter, &stats), plain(*model, prompt(i))) << i;
    all.drafted += stats.drafted;
    all.accepted += stats.accepted;
  }
  EXPECT_GT(all.accepted, all.drafted / 2);
  EXPECT_LT(all.accepted, all.drafted);
}

// Guesses that are never right, and such as are right for a while.
class WrongDrafter final : public Drafter {
 public:
  std::span<const TokenId> propose(std::span<const TokenId> text, int64_t most) override {
    guess_.assign(size_t(most), TokenId((text.back() + 1) % 83));
    return guess_;
  }

 private:
  std::vector<TokenId> guess_;
};

TEST(Speculation, WrongGuessesChangeNothing) {
  for (const char* kv : {"f32", "k8v4"}) {
    const TinyCheckpoint checkpoint(tiny_config());
    const auto model = open_float_runtime(checkpoint, {.threads = 1, .kv = parse_kv_scheme(kv)});
    WrongDrafter drafter;
    for (const int64_t length : {1, 20, 31, 32, 61, 90}) {
      const std::vector<TokenId> prompt = tokens_of(tiny_config(), length);
      EXPECT_EQ(speculated(*model, prompt, drafter), plain(*model, prompt)) << kv << " " << length;
    }
  }
}

TEST(PromptLookup, GuessesWhatCameAfterTheSameTokens) {
  const auto lookup = make_prompt_lookup();
  const auto guess = [&](std::vector<TokenId> text, int64_t most) {
    const auto found = lookup->propose(text, most);
    return std::vector<TokenId>(found.begin(), found.end());
  };
  using Tokens = std::vector<TokenId>;
  EXPECT_EQ(guess({1, 2, 3, 4, 5, 9, 1, 2, 3}, 2), (Tokens{4, 5}));
  EXPECT_EQ(guess({7, 2, 3, 4, 1, 2, 3}, 1), (Tokens{4}));     // two of the three
  EXPECT_EQ(guess({2, 3, 4, 2, 3, 5, 2, 3}, 1), (Tokens{5}));  // the latest
  EXPECT_EQ(guess({1, 2, 3, 4, 5, 6, 7, 3}, 4), Tokens{});     // one is too few
  EXPECT_EQ(guess({5, 5, 5}, 4), (Tokens{5}));                 // overlapping
  EXPECT_EQ(guess({1}, 4), Tokens{});
}

TEST(SpeculationJudge, SpeculatesWhileARoundCostsLessThanItsTokens) {
  SpeculationJudge judge;
  EXPECT_FALSE(judge.speculates());
  for (int i = 0; i < SpeculationJudge::kTrial; ++i) judge.plain_step(1);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(judge.speculates());
    judge.round(1.9, 2);
  }
}

TEST(SpeculationJudge, RestsLongerEachTimeItIsSlower) {
  SpeculationJudge judge;
  for (int i = 0; i < SpeculationJudge::kTrial; ++i) judge.plain_step(1);
  for (int64_t rest = SpeculationJudge::kFirstRest; rest <= 2 * SpeculationJudge::kLongestRest; rest *= 2) {
    for (int i = 0; i < SpeculationJudge::kWindow; ++i) {
      EXPECT_TRUE(judge.speculates());
      judge.round(2.1, 2);
    }
    EXPECT_TRUE(judge.gave_up());
    int64_t rested = 0;
    for (; !judge.speculates(); ++rested) judge.plain_step(1);
    EXPECT_EQ(rested, std::min(rest, SpeculationJudge::kLongestRest));
  }
  for (int i = 0; i < SpeculationJudge::kWindow; ++i) judge.round(1, 2);
  EXPECT_TRUE(judge.speculates());
  EXPECT_FALSE(judge.gave_up());
}

TEST(Speculation, SwitchesItselfOffWhereItIsSlower) {
  const TinyCheckpoint checkpoint(tiny_config());
  const auto model = open_float_runtime(checkpoint, {.threads = 1});
  const auto session = model->start({});
  WrongDrafter drafter;
  double time = 0;
  Speculation speculation(*session, drafter, [&] { return time += 1; });  // every call takes a second
  std::vector<TokenId> text = tokens_of(tiny_config(), 3);
  session->feed(std::span(text).first(2), Logits::none);
  for (int i = 0; i < 100; ++i) {
    const auto next = speculation.next(text, 1000);
    text.insert(text.end(), next.begin(), next.end());
  }
  EXPECT_FALSE(speculation.stats().off);  // wrong guesses cost nothing by this clock
  EXPECT_EQ(speculation.stats().accepted, 0);
  EXPECT_GT(speculation.stats().rounds, 90);
  Speculation slow(*session, drafter, [&, calls = 0]() mutable {
    return time += ++calls % 2 == 0 && calls > 2 * SpeculationJudge::kTrial ? 2 : 1;
  });
  for (int i = 0; i < 30; ++i) {
    const auto next = slow.next(text, 1000);
    text.insert(text.end(), next.begin(), next.end());
  }
  EXPECT_TRUE(slow.stats().off);
  EXPECT_EQ(slow.stats().rounds, SpeculationJudge::kWindow);
}

}  // namespace
}  // namespace edgeq
