// SPDX-License-Identifier: Apache-2.0
// Sequences that run together get the logits that they get alone, however their pages are shared.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <stdexcept>

#include "core/random.h"
#include "runtime/kv_cache.h"
#include "runtime/runtime.h"
#include "tests/runtime/variants.h"
#include "tests/support/allocations.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using Rows = std::vector<std::vector<float>>;
constexpr int64_t kPage = KvCache::kPage;

TokenId best(std::span<const float> logits) {
  return TokenId(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// The logits of each greedy token of a request that runs alone, with room for just that.
Rows alone(const LanguageModel& model, const std::vector<TokenId>& prompt, int64_t tokens) {
  const auto session = model.start({.max_tokens = std::ssize(prompt) + tokens});
  Rows rows;
  MatrixView<const float> logits = session->feed(prompt, Logits::last);
  while (true) {
    rows.emplace_back(logits.row(0), logits.row(0) + logits.cols);
    if (std::ssize(rows) == tokens) return rows;
    const TokenId next = best(rows.back());
    logits = session->feed({&next, 1}, Logits::last);
  }
}

// A greedy request that leaves its logits in `rows`.
BatchRequest request(std::vector<TokenId> prompt, int64_t tokens, Rows& rows) {
  return {.prompt = std::move(prompt), .tokens = tokens, .next = [&rows](std::span<const float> logits) {
            rows.emplace_back(logits.begin(), logits.end());
            return best(logits);
          }};
}

void finish(Batch& batch) {
  while (batch.step()) {
  }
}

struct Wanted {
  std::vector<TokenId> prompt;
  int64_t tokens;
};

// Prompts of many lengths, several with a beginning in common.
std::vector<Wanted> assorted(const ModelConfig& config) {
  const std::vector<TokenId> common = tokens_of(config, 100, 9);
  std::vector<Wanted> list;
  for (const int64_t length : {1, 5, 31, 32, 33, 64, 70, 97, 130}) {
    list.push_back({tokens_of(config, length, uint64_t(length)), 7 + length % 5});
    std::vector<TokenId> prompt(common.begin(), common.begin() + std::min<int64_t>(length, 100));
    for (const TokenId t : tokens_of(config, 1 + length % 3, uint64_t(length) + 1)) prompt.push_back(t);
    list.push_back({prompt, 40});
  }
  return list;
}

void expect_same_as_alone(const LanguageModel& model, const BatchOptions& options, const std::string& what) {
  const std::vector<Wanted> wanted = assorted(model.config());
  std::vector<Rows> found(wanted.size());
  const auto batch = model.start_batch(options);
  for (size_t i = 0; i < wanted.size(); ++i)
    batch->submit(request(wanted[i].prompt, wanted[i].tokens, found[i]));
  finish(*batch);
  for (size_t i = 0; i < wanted.size(); ++i)
    EXPECT_EQ(found[i], alone(model, wanted[i].prompt, wanted[i].tokens)) << what << ", request " << i;
  EXPECT_EQ(batch->stats().free_pages, batch->stats().pool_pages) << what;
}

TEST(Batch, EverySequenceIsAsAlone) {
  const TinyCheckpoint checkpoint(tiny_config());
  for (const char* kv : {"f32", "f16", "k8v8", "k8v4", "k4v4", "k16v4"})
    for (const int threads : {1, 2}) {
      const auto model = open_float_runtime(checkpoint, {.threads = threads, .kv = parse_kv_scheme(kv)});
      for (const int64_t sequences : {1, 3, 8}) expect_same_as_alone(*model, {.sequences = sequences}, kv);
    }
}

TEST(Batch, EverySequenceIsAsAloneInEveryVariantOfTheFamily) {
  for (const Variant& variant : variants()) {
    const TinyCheckpoint checkpoint(variant.config);
    for (const char* kv : {"f32", "k8v4"}) {
      const auto model = open_float_runtime(checkpoint, {.threads = 2, .kv = parse_kv_scheme(kv)});
      expect_same_as_alone(*model, {.sequences = 8}, variant.name + " " + kv);
    }
  }
}

TEST(Batch, EverySequenceIsAsAloneWhenPagesRunOut) {
  const TinyCheckpoint checkpoint(tiny_config());
  for (const char* kv : {"f32", "k8v4"}) {
    const auto model = open_float_runtime(checkpoint, {.threads = 2, .kv = parse_kv_scheme(kv)});
    for (const bool share : {true, false}) {
      const BatchOptions options{.sequences = 8, .pool_tokens = 7 * kPage, .share_prefixes = share};
      expect_same_as_alone(*model, options, kv);
    }
    std::vector<Rows> rows(4);
    const auto batch = model->start_batch({.sequences = 4, .pool_tokens = 7 * kPage});
    for (size_t i = 0; i < 4; ++i) batch->submit(request(tokens_of(tiny_config(), 20, i), 80, rows[i]));
    finish(*batch);
    EXPECT_GT(batch->stats().preempted, 0);
    for (size_t i = 0; i < 4; ++i)
      EXPECT_EQ(rows[i], alone(*model, tokens_of(tiny_config(), 20, i), 80)) << kv << " " << i;
  }
}

TEST(Batch, RequestsThatBeginAlikeShareTheirPages) {
  const TinyCheckpoint checkpoint(tiny_config());
  for (const char* kv : {"f32", "k8v8"}) {
    const auto model = open_float_runtime(checkpoint, {.threads = 1, .kv = parse_kv_scheme(kv)});
    std::vector<TokenId> prompt = tokens_of(tiny_config(), 10 * kPage);
    std::vector<Rows> rows(4);
    const auto batch = model->start_batch({.sequences = 4});
    for (size_t i = 0; i < 4; ++i) {
      prompt.back() = TokenId(i);
      batch->submit(request(prompt, 5, rows[i]));
    }
    while (batch->running() == 0 || batch->stats().held_tokens < 4 * 10 * kPage) ASSERT_TRUE(batch->step());
    const BatchStats stats = batch->stats();
    EXPECT_GE(stats.shared_tokens, 3 * 9 * kPage) << kv;
    EXPECT_LE(stats.pool_pages - stats.free_pages, 9 + 4 * 2) << kv;
    finish(*batch);
    for (size_t i = 0; i < 4; ++i) {
      prompt.back() = TokenId(i);
      EXPECT_EQ(rows[i], alone(*model, prompt, 5)) << kv << " " << i;
    }
  }
}

TEST(Batch, DecodingAllocatesNothing) {
  const TinyCheckpoint checkpoint(tiny_config());
  for (const char* kv : {"f32", "k4v4"}) {
    const auto model = open_float_runtime(checkpoint, {.threads = 2, .kv = parse_kv_scheme(kv)});
    const auto batch = model->start_batch({.sequences = 4});
    for (uint64_t i = 0; i < 4; ++i)
      batch->submit({.prompt = tokens_of(tiny_config(), 30, i), .tokens = 400, .next = best});
    for (int i = 0; i < 10; ++i) batch->step();
    const int64_t before = allocations();
    for (int i = 0; i < 300; ++i) batch->step();  // over nine page borders
    EXPECT_EQ(allocations(), before) << kv;
    EXPECT_EQ(batch->running(), 4);
  }
}

TEST(Batch, TheCounterOfAllocationsCounts) {
  const int64_t before = allocations();
  std::vector<int> memory(100);
  EXPECT_GT(allocations(), before);
  EXPECT_EQ(memory[7], 0);
}

TEST(Batch, ACancelledRequestGivesItsPagesBackAndDisturbsNobody) {
  const TinyCheckpoint checkpoint(tiny_config());
  const auto model = open_float_runtime(checkpoint, {.threads = 2, .kv = parse_kv_scheme("k8v8")});
  const std::vector<TokenId> prompt = tokens_of(tiny_config(), 70);
  Rows kept, lost, never;
  const auto batch = model->start_batch({.sequences = 2});
  const int64_t first = batch->submit(request(prompt, 50, lost));
  batch->submit(request(prompt, 50, kept));
  const int64_t last = batch->submit(request(prompt, 50, never));
  for (int i = 0; i < 20; ++i) batch->step();
  batch->cancel(first);
  batch->cancel(last);
  batch->cancel(first);
  finish(*batch);
  EXPECT_EQ(kept, alone(*model, prompt, 50));
  EXPECT_LT(lost.size(), 50u);
  EXPECT_TRUE(never.empty());
  EXPECT_EQ(batch->stats().free_pages, batch->stats().pool_pages);
}

TEST(Batch, WhatOneRequestThrowsLeavesTheOthersAlone) {
  const TinyCheckpoint checkpoint(tiny_config());
  const auto model = open_float_runtime(checkpoint, {.threads = 2});
  const std::vector<TokenId> prompt = tokens_of(tiny_config(), 20);
  Rows rows;
  const auto batch = model->start_batch({});
  batch->submit({.prompt = prompt, .tokens = 9, .next = [](std::span<const float>) -> std::optional<TokenId> {
                   throw std::runtime_error("mine");
                 }});
  batch->submit(request(prompt, 9, rows));
  EXPECT_THROW(finish(*batch), std::runtime_error);
  finish(*batch);
  EXPECT_EQ(rows, alone(*model, prompt, 9));
}

TEST(Batch, RefusesWhatCouldNeverRun) {
  const TinyCheckpoint checkpoint(tiny_config());
  const auto model = open_float_runtime(checkpoint, {.threads = 1});
  EXPECT_EQ(error_of([&] { model->start_batch({.sequences = 65}); }),
            "a batch of 65 sequences; expected 1 to 64");
  const auto batch = model->start_batch({.sequences = 2, .pool_tokens = 3 * kPage});
  const auto refusal = [&](std::vector<TokenId> prompt, int64_t tokens) {
    return error_of([&] { batch->submit({.prompt = std::move(prompt), .tokens = tokens, .next = best}); });
  };
  EXPECT_EQ(refusal({}, 5), "a request for 5 tokens after a prompt of 0; expected at least 1 of each");
  EXPECT_EQ(refusal({83}, 5), "token 83 at position 0 is outside the vocabulary of 83");
  EXPECT_EQ(refusal({1}, 640), "640 tokens after 1 do not fit a cache of 640");
  EXPECT_EQ(refusal(tokens_of(tiny_config(), 90), 8),
            "a request of 98 tokens needs 4 pages of 32 in the KV pool; it has 3");
  EXPECT_FALSE(batch->step());
}

// Of the positions in pages that sequences hold, those that they leave empty, for lengths drawn
// log-uniformly from 64 to 2048: about kPage / 2 of 572 for each. Pages of 64 would waste 5 %.
TEST(KvPool, WastesLessThanFourPercent) {
  ModelConfig config = tiny_config();
  config.layers.resize(1);
  config.layers[0] = {.heads = 1, .kv_heads = 1, .head_dim = 16, .ffn = 16};
  const auto pool = std::make_shared<KvPool>(KvLayout(config, KvScheme{}), 4000, 1000);
  Random random(7);
  std::vector<std::unique_ptr<KvCache>> sequences;
  int64_t tokens = 0;
  while (true) {
    const auto length = int64_t(64 * std::exp(random.uniform() * std::log(32.0)));
    if (KvLayout::pages_of(length) > pool->free_pages()) break;
    sequences.push_back(std::make_unique<KvCache>(pool, 2048));
    for (int64_t at = 0; at < length; at += kPage) sequences.back()->extend(at, std::min(at + kPage, length));
    tokens += length;
  }
  const int64_t held = (pool->pages() - pool->free_pages()) * kPage;
  const double waste = 1 - double(tokens) / double(held);
  RecordProperty("waste_percent", std::to_string(100 * waste));
  RecordProperty("sequences", std::to_string(sequences.size()));
  EXPECT_GT(sequences.size(), 100u);
  EXPECT_LT(waste, 0.04);
}

TEST(KvPool, RefusesWhenItIsExhausted) {
  const auto pool = std::make_shared<KvPool>(KvLayout(tiny_config(), KvScheme{}), 3, 2);
  KvCache a(pool, 640), b(pool, 640);
  a.extend(0, 2 * kPage);
  EXPECT_EQ(error_of([&] { b.extend(0, 2 * kPage); }),
            "a sequence of 64 tokens needs 2 more pages of 32 in the KV pool; 1 of 3 are free");
  EXPECT_EQ(b.pages(), 0);
  b.extend(0, kPage);
  a.truncate(kPage);
  EXPECT_EQ(pool->free_pages(), 1);
  EXPECT_EQ(error_of([&] { KvCache(pool, 640); }),
            "a KV pool for 2 sequences has all of them; expected one to end first");
}

TEST(KvPool, APageIsCopiedBeforeOneOfItsOwnersWritesToIt) {
  const auto pool = std::make_shared<KvPool>(KvLayout(tiny_config(), KvScheme{}), 4, 2);
  KvCache a(pool, 640), b(pool, 640);
  a.extend(0, kPage + 5);
  EXPECT_EQ(b.adopt(a, kPage + 3), kPage + 3);
  EXPECT_EQ(pool->free_pages(), 2);
  b.extend(kPage + 3, kPage + 4);
  EXPECT_EQ(pool->free_pages(), 1);
  b.extend(kPage + 4, kPage + 6);
  a.extend(kPage + 5, kPage + 6);  // nobody else's by now
  EXPECT_EQ(pool->free_pages(), 1);
}

}  // namespace
}  // namespace edgeq
