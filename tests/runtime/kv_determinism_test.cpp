// SPDX-License-Identifier: Apache-2.0
// Whatever keys and values are kept as, a token's logits depend on the tokens before it and on nothing else:
// not on feeds, threads, truncations or the instruction set.
#include <gtest/gtest.h>

#include <memory>

#include "runtime/kernels/kernel_table.h"
#include "runtime/kv_cache.h"
#include "runtime/runtime.h"
#include "tests/runtime/variants.h"

namespace edgeq {
namespace {

using Rows = std::vector<std::vector<float>>;

constexpr const char* kSchemes[] = {"f16", "k8v8", "k8v4", "k4v4", "k16v4", "k4v32"};

std::unique_ptr<LanguageModel> open(const Checkpoint& checkpoint, const char* kv, int threads,
                                    const char* isa = "") {
  return open_float_runtime(checkpoint, {.threads = threads, .kv = parse_kv_scheme(kv), .isa = isa});
}

Rows run(const LanguageModel& model, const std::vector<TokenId>& tokens, int64_t piece) {
  return feed_in_pieces(*model.start({}), tokens, piece);
}

TEST(KvCacheRuntime, LogitsDoNotDependOnPiecesOrThreads) {
  const TinyCheckpoint checkpoint(tiny_config());
  const std::vector<TokenId> tokens = tokens_of(tiny_config(), 3 * KvCache::kPage + 10);
  for (const char* kv : kSchemes) {
    const auto one = open(checkpoint, kv, 1), three = open(checkpoint, kv, 3);
    const Rows expected = run(*one, tokens, 1);
    for (const int64_t piece : {3, 63, 64, 65, 100, 202})
      EXPECT_EQ(run(*three, tokens, piece), expected) << kv << " in pieces of " << piece;
  }
}

TEST(KvCacheRuntime, EveryVariantOfTheFamilyKeepsThat) {
  for (const Variant& variant : variants()) {
    const TinyCheckpoint checkpoint(variant.config);
    const std::vector<TokenId> tokens = tokens_of(variant.config, 2 * KvCache::kPage + 5);
    const auto one = open(checkpoint, "k8v4", 1), two = open(checkpoint, "k8v4", 2);
    const Rows expected = run(*one, tokens, 1);
    for (const int64_t piece : {50, 133})
      EXPECT_EQ(run(*two, tokens, piece), expected) << variant.name << " in pieces of " << piece;
  }
}

TEST(KvCacheRuntime, EveryInstructionSetGivesTheSameLogits) {
  ModelConfig config = tiny_config();
  config.qkv_bias = true;
  config.layers[0] = {.heads = 4, .kv_heads = 2, .head_dim = 80, .ffn = 70, .window = 0};
  const TinyCheckpoint checkpoint(config);
  const std::vector<TokenId> tokens = tokens_of(config, 150);
  for (const char* kv : kSchemes) {
    const Rows expected = run(*open(checkpoint, kv, 1, "scalar"), tokens, 150);
    for (const KernelTable* table : runnable_kernels())
      EXPECT_EQ(run(*open(checkpoint, kv, 1, table->isa), tokens, 150), expected)
          << kv << " on " << table->isa;
  }
}

// From a page that is still open as floats, one page back, and from pages of codes alone.
TEST(KvCacheRuntime, TruncatingForgetsWhatCameAfter) {
  const TinyCheckpoint checkpoint(tiny_config());
  const std::vector<TokenId> tokens = tokens_of(tiny_config(), 220), other = tokens_of(tiny_config(), 220, 8);
  for (const char* kv : kSchemes) {
    const auto model = open(checkpoint, kv, 2);
    const Rows expected = run(*model, tokens, 220);
    for (const int64_t kept : {219, 193, 192, 150, 128, 127, 100, 64, 3, 0}) {
      const auto session = model->start({});
      session->feed(std::span(tokens).first(size_t(kept)), Logits::none);
      session->feed(std::span(other).subspan(size_t(kept)), Logits::none);
      session->truncate(kept);
      EXPECT_EQ(session->length(), kept);
      const auto rest = feed_in_pieces(*session, std::span(tokens).subspan(size_t(kept)), 220);
      EXPECT_EQ(rest, Rows(expected.begin() + kept, expected.end())) << kv << " truncated to " << kept;
    }
  }
}

TEST(KvCacheRuntime, TruncatingTwiceIsTruncatingToTheLesser) {
  const TinyCheckpoint checkpoint(tiny_config());
  const std::vector<TokenId> tokens = tokens_of(tiny_config(), 220);
  const auto model = open(checkpoint, "k4v4", 2);
  const Rows expected = run(*model, tokens, 220);
  const auto session = model->start({});
  session->feed(tokens, Logits::none);
  session->truncate(100);
  session->feed(std::span(tokens).subspan(100, 1), Logits::none);
  session->truncate(101);
  session->truncate(99);
  EXPECT_EQ(feed_in_pieces(*session, std::span(tokens).subspan(99), 60),
            Rows(expected.begin() + 99, expected.end()));
}

TEST(KvCacheRuntime, TheFirstPageIsAsWithFloatsAndLaterOnesAreNot) {
  const TinyCheckpoint checkpoint(tiny_config());
  const std::vector<TokenId> tokens = tokens_of(tiny_config(), 2 * KvCache::kPage);
  const Rows floats = run(*open(checkpoint, "f32", 1), tokens, 128);
  for (const char* kv : {"k8v8", "k4v4", "k8v32", "k32v8"}) {
    const Rows codes = run(*open(checkpoint, kv, 1), tokens, 128);
    for (size_t t = 0; t < tokens.size(); ++t)
      EXPECT_EQ(codes[t] == floats[t], t < size_t(KvCache::kPage)) << kv << " " << t;
  }
}

// Largest difference as a share of the largest logit.
double error_of(const Rows& found, const Rows& exact) {
  double error = 0, largest = 0;
  for (size_t t = 0; t < exact.size(); ++t)
    for (size_t i = 0; i < exact[t].size(); ++i) {
      error = std::max(error, std::abs(double(found[t][i]) - exact[t][i]));
      largest = std::max(largest, std::abs(double(exact[t][i])));
    }
  return error / largest;
}

// Measured on a model with key biases of 0.3, as a share of the largest logit: 0.0011 and, for k4v4, 0.37.
// Weights drawn at random make attention far touchier than a trained model's.
struct Loss {
  const char* kv;
  double most;
};
constexpr Loss kLosses[] = {{"f16", 0.002}, {"k8v8", 0.02}, {"k8v4", 0.2}, {"k4v4", 0.5}};

TEST(KvCacheRuntime, EachKindCostsWhatItsBitsSay) {
  ModelConfig config = tiny_config();
  config.qkv_bias = true;
  const TinyCheckpoint checkpoint(config);
  const std::vector<TokenId> tokens = tokens_of(config, 300);
  const Rows exact = run(*open(checkpoint, "f32", 1), tokens, 300);
  double before = 1e-5;
  for (const Loss& loss : kLosses) {
    const double error = error_of(run(*open(checkpoint, loss.kv, 1), tokens, 300), exact);
    EXPECT_LT(error, loss.most) << loss.kv;
    EXPECT_GT(error, before) << loss.kv << " costs no more than the kind before it";
    before = error;
  }
}

}  // namespace
}  // namespace edgeq
