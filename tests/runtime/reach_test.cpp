// SPDX-License-Identifier: Apache-2.0
// A window and sinks on any model: the definition of runtime/reach.h in double, full attention while the
// window covers the text, and as many pages however long it gets.
#include <gtest/gtest.h>

#include "runtime/kernels/kernel_table.h"
#include "runtime/kv_cache.h"
#include "runtime/runtime.h"
#include "runtime/speculation.h"
#include "tests/runtime/variants.h"
#include "tests/support/message.h"
#include "tests/support/reference_forward.h"

namespace edgeq {
namespace {

using Rows = std::vector<std::vector<float>>;

std::unique_ptr<LanguageModel> open(const Checkpoint& checkpoint, const Reach& reach, const char* kv = "f32",
                                    int threads = 2, const char* isa = "") {
  return open_float_runtime(checkpoint,
                            {.threads = threads, .kv = parse_kv_scheme(kv), .reach = reach, .isa = isa});
}

Rows run(const LanguageModel& model, std::span<const TokenId> tokens, int64_t piece) {
  return feed_in_pieces(*model.start({.max_tokens = std::ssize(tokens)}), tokens, piece);
}

// Largest difference as a share of the largest expected logit.
double relative_error(const Rows& found, const ReferenceForward::Matrix& expected) {
  double error = 0, largest = 0;
  for (size_t t = 0; t < found.size(); ++t)
    for (size_t i = 0; i < found[t].size(); ++i) {
      error = std::max(error, std::abs(double(found[t][i]) - expected[t][i]));
      largest = std::max(largest, std::abs(double(expected[t][i])));
    }
  return error / largest;
}

// As tests/runtime/parity_test.cpp derives it.
constexpr double kFloatError = 1e-5;

constexpr Reach kReaches[] = {{16, 0}, {16, 1}, {17, 4}, {40, 33}, {64, 32}};

TEST(Reach, IsTheDefinitionInDoubleOnEveryVariant) {
  for (const Variant& variant : variants()) {
    const TinyCheckpoint checkpoint(variant.config);
    const std::vector<TokenId> tokens = tokens_of(variant.config, 110);
    for (const Reach& reach : {Reach{16, 1}, Reach{24, 35}})
      EXPECT_LT(relative_error(run(*open(checkpoint, reach), tokens, 110),
                               ReferenceForward(checkpoint, reach)(tokens)),
                kFloatError)
          << variant.name << ", " << reach_text(reach);
  }
}

// Far beyond the context, where positions are no longer in a table.
TEST(Reach, GoesOnBeyondTheContext) {
  ModelConfig config = tiny_config();
  config.context = 70;
  const TinyCheckpoint checkpoint(config);
  const std::vector<TokenId> tokens = tokens_of(config, 300);
  for (const Reach& reach : kReaches) {
    if (reach.tokens() > config.context) continue;
    EXPECT_LT(relative_error(run(*open(checkpoint, reach), tokens, 64),
                             ReferenceForward(checkpoint, reach)(tokens)),
              kFloatError)
        << reach_text(reach);
  }
}

// Negative control: the same check sees a window or sinks that are one off, and sinks seen from where they
// are.
TEST(Reach, TheCheckSeesATokenMoreOrLess) {
  const TinyCheckpoint checkpoint(tiny_config());
  const std::vector<TokenId> tokens = tokens_of(tiny_config(), 110);
  const auto expected = ReferenceForward(checkpoint, {.window = 24, .sinks = 4})(tokens);
  for (const Reach& reach : {Reach{25, 4}, Reach{23, 4}, Reach{24, 3}, Reach{24, 5}, Reach{24, 0}, Reach{}})
    EXPECT_GT(relative_error(run(*open(checkpoint, reach), tokens, 110), expected), kFloatError)
        << reach_text(reach);
}

TEST(Reach, IsFullAttentionBitForBitWhileItCoversTheText) {
  for (const Variant& variant : variants()) {
    const TinyCheckpoint checkpoint(variant.config);
    for (const Reach& reach : kReaches) {
      const std::vector<TokenId> tokens = tokens_of(variant.config, reach.tokens() + 1);
      for (const char* kv : {"f32", "k8v4"}) {
        // The same room: it decides how the model's positions are scaled.
        const auto session = open(checkpoint, reach, kv)->start({.max_tokens = std::ssize(tokens) - 1});
        const auto all = open(checkpoint, {}, kv)->start({.max_tokens = std::ssize(tokens) - 1});
        const std::span covered = std::span(tokens).first(tokens.size() - 1);
        EXPECT_EQ(feed_in_pieces(*session, covered, 37), feed_in_pieces(*all, covered, 37))
            << variant.name << ", " << kv << ", " << reach_text(reach);
      }
    }
  }
  const TinyCheckpoint checkpoint(tiny_config());
  const std::vector<TokenId> tokens = tokens_of(tiny_config(), 21);  // one more than 16 and 4
  EXPECT_NE(run(*open(checkpoint, {16, 4}), tokens, 21).back(),
            run(*open(checkpoint, {}), tokens, 21).back());
}

TEST(Reach, LogitsDoNotDependOnPiecesThreadsOrInstructionSets) {
  const TinyCheckpoint checkpoint(tiny_config());
  const std::vector<TokenId> tokens = tokens_of(tiny_config(), 230);
  for (const Reach& reach : kReaches)
    for (const char* kv : {"f32", "f16", "k8v8", "k4v4"}) {
      const Rows expected = run(*open(checkpoint, reach, kv, 1), tokens, 1);
      for (const int64_t piece : {3, 20, 63, 64, 230})
        EXPECT_EQ(run(*open(checkpoint, reach, kv, 3), tokens, piece), expected)
            << kv << ", " << reach_text(reach) << " in pieces of " << piece;
      for (const KernelTable* table : runnable_kernels())
        EXPECT_EQ(run(*open(checkpoint, reach, kv, 1, table->isa), tokens, 230), expected)
            << kv << ", " << reach_text(reach) << " on " << table->isa;
    }
}

// Back within the pages that are there, and to where they have been given back, sinks and all.
TEST(Reach, TruncatingForgetsWhatCameAfter) {
  const TinyCheckpoint checkpoint(tiny_config());
  const std::vector<TokenId> tokens = tokens_of(tiny_config(), 400);
  for (const char* kv : {"f32", "k8v4"}) {
    const auto model = open(checkpoint, {40, 33}, kv);
    const Rows expected = run(*model, tokens, 400);
    const auto session = model->start({});
    session->feed(std::span(tokens).first(360), Logits::none);
    for (const int64_t kept : {359, 355, 300, 70, 20, 0}) {
      session->truncate(kept);
      const auto rest = feed_in_pieces(*session, std::span(tokens).subspan(size_t(kept), 40), 9);
      EXPECT_EQ(rest, Rows(expected.begin() + kept, expected.begin() + kept + 40)) << kv << " " << kept;
    }
  }
}

TEST(Reach, HoldsAsManyPagesHoweverLongTheText) {
  ModelConfig config = tiny_config();
  config.context = 128;
  const TinyCheckpoint checkpoint(config);
  const std::vector<TokenId> tokens = tokens_of(config, 3000);
  for (const char* kv : {"f32", "k8v4"}) {
    const auto model = open(checkpoint, {64, 4}, kv);
    const Rows expected = run(*model, tokens, 64);
    const auto batch =
        model->start_batch({.sequences = 2, .pool_tokens = 14 * KvCache::kPage, .sequence_tokens = 3000});
    std::vector<Rows> found(2);
    for (Rows& rows : found)
      batch->submit({.prompt = {tokens[0]}, .tokens = 2999, .next = [&](std::span<const float> logits) {
                       rows.emplace_back(logits.begin(), logits.end());
                       return std::optional(tokens[rows.size()]);
                     }});
    // Each: one of sinks, and of the window three and the one that is kept longer.
    while (batch->step()) EXPECT_LE(batch->stats().held_pages, 2 * 5);
    for (const Rows& rows : found) EXPECT_EQ(rows, Rows(expected.begin(), expected.begin() + 2999)) << kv;
    EXPECT_EQ(batch->stats().preempted, 0);
    EXPECT_EQ(batch->stats().free_pages, 14);
  }
}

TEST(Reach, SpeculationMakesTheSameText) {
  ModelConfig config = tiny_config();
  config.context = 64;
  const TinyCheckpoint checkpoint(config);
  const auto model = open(checkpoint, {40, 4}, "k8v8");
  const auto generate = [&](Drafter& drafter) {
    const auto session = model->start({.max_tokens = 400});
    std::vector<TokenId> text = tokens_of(config, 30);
    session->feed(std::span(text).first(29), Logits::none);
    Speculation speculation(*session, drafter);
    while (std::ssize(text) < 395)
      for (const TokenId token : speculation.next(text, 395 - std::ssize(text))) text.push_back(token);
    return text;
  };
  class None final : public Drafter {
    std::span<const TokenId> propose(std::span<const TokenId>, int64_t) override { return {}; }
  } none;
  EXPECT_EQ(generate(*make_prompt_lookup()), generate(none));
  EXPECT_EQ(generate(*make_model_drafter(*model, 400)), generate(none));
}

TEST(Reach, ASavedBeginningGoesOnUntilSomeOfItIsForgotten) {
  const TinyCheckpoint checkpoint(tiny_config());
  const std::vector<TokenId> tokens = tokens_of(tiny_config(), 300);
  const auto model = open(checkpoint, {64, 4}, "k8v4");
  const Rows expected = run(*model, tokens, 300);
  const auto from = model->start({});
  from->feed(std::span(tokens).first(90), Logits::none);
  const SessionState state = from->save();
  const auto session = model->start({.max_tokens = 300});
  session->restore(state, 90);
  EXPECT_EQ(feed_in_pieces(*session, std::span(tokens).subspan(90), 50),
            Rows(expected.begin() + 90, expected.end()));
  EXPECT_EQ(error_of([&] { session->save(); }),
            "a sequence of 300 tokens has given back what is behind its window; expected all of it");
}

TEST(Reach, RefusesWhatTheModelHasNoRoomFor) {
  const TinyCheckpoint checkpoint(tiny_config());
  const auto message = [&](const Reach& reach) { return error_of([&] { open(checkpoint, reach); }); };
  EXPECT_EQ(message({15, 4}), "a window of 15 tokens; expected at least 16");
  EXPECT_EQ(message({0, 4}), "a window of 0 tokens; expected at least 16");
  EXPECT_EQ(message({64, -1}), "-1 sinks; expected at least 0");
  EXPECT_EQ(message({637, 4}),
            "a window of 637 tokens and 4 sinks; expected at most the model's context of 640");
  EXPECT_EQ(message({INT64_MAX, INT64_MAX}),
            "a window of 9223372036854775807 tokens and 9223372036854775807 sinks; expected at most the "
            "model's context of 640");
  open(checkpoint, {636, 4});
  EXPECT_EQ(error_of([&] {
              open(checkpoint, {64, 4})->start({.max_tokens = (int64_t(1) << 21) + 1});
            }),
            "a cache of 2097153 tokens is asked for, the most with a window is 2097152");
}

// A table of positions ends with the context, whatever a token sees.
TEST(Reach, LearnedPositionsEndWithTheContext) {
  ModelConfig config = tiny_config();
  config.learned_positions = true;
  const TinyCheckpoint checkpoint(config);
  EXPECT_EQ(error_of([&] {
              open(checkpoint, {64, 4})->start({.max_tokens = 641});
            }),
            "a cache of 641 tokens is asked for, the model's context is 640");
}

}  // namespace
}  // namespace edgeq
