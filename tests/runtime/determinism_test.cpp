// SPDX-License-Identifier: Apache-2.0
// A token's logits depend on the tokens before it and on nothing else: not on how the sequence was cut into
// feeds, not on threads, not on the instruction set.
#include <gtest/gtest.h>

#include <memory>

#include "runtime/kernels/kernel_table.h"
#include "runtime/runtime.h"
#include "tests/runtime/variants.h"
#include "tests/support/quantized_tiny.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using Rows = std::vector<std::vector<float>>;

Rows run(const LanguageModel& model, const std::vector<TokenId>& tokens, int64_t piece) {
  return feed_in_pieces(*model.start({}), tokens, piece);
}

TEST(Runtime, FloatLogitsDoNotDependOnPiecesOrThreads) {
  for (const Variant& variant : variants()) {
    const TinyCheckpoint checkpoint(variant.config);
    const std::vector<TokenId> tokens = tokens_of(variant.config, 90);
    for (const KernelTable* table : runnable_kernels()) {
      const auto one = open_float_runtime(checkpoint, {.threads = 1, .isa = table->isa});
      const auto three = open_float_runtime(checkpoint, {.threads = 3, .isa = table->isa});
      const Rows expected = run(*one, tokens, 1);
      for (const int64_t piece : {3, 16, 90})
        EXPECT_EQ(run(*one, tokens, piece), expected)
            << variant.name << " on " << table->isa << " in pieces of " << piece;
      for (const int64_t piece : {7, 90})
        EXPECT_EQ(run(*three, tokens, piece), expected)
            << variant.name << " on " << table->isa << ", 3 threads, in pieces of " << piece;
    }
  }
}

// Sites in all schemes of the kernels, so that one model covers them.
std::optional<QuantScheme> assorted(const std::string& site) {
  if (site.ends_with("k_proj")) return std::nullopt;
  if (site.ends_with("v_proj")) return parse_scheme("int8-channel-sym");
  if (site.ends_with("o_proj")) return parse_scheme("int6-channel-asym");
  if (site.ends_with("gate_proj")) return parse_scheme("int3-channel-sym");
  if (site.ends_with("down_proj")) return parse_scheme("int4-channel-offset");
  if (site == "embedding") return parse_scheme("int8-channel-asym");
  return parse_scheme("int4-channel-sym");
}

class PackedDeterminism : public testing::Test {
 protected:
  void SetUp() override {
    ModelConfig config = tiny_config();
    config.layers[1].window = 50;
    config_ = config;
    QuantizedTiny(config, assorted).write(dir_.file("model"));
  }
  std::unique_ptr<LanguageModel> open(const RuntimeOptions& options) const {
    return open_packed_runtime(dir_.file("model"), options);
  }

  TempDir dir_;
  ModelConfig config_;
};

TEST_F(PackedDeterminism, PackedLogitsDoNotDependOnPiecesOrThreads) {
  const std::vector<TokenId> tokens = tokens_of(config_, 150);
  for (const Activations mode : {Activations::int8_block, Activations::int8_token, Activations::f32}) {
    for (const KernelTable* table : runnable_kernels()) {
      const auto one = open({.threads = 1, .activations = mode, .isa = table->isa});
      const auto two = open({.threads = 2, .activations = mode, .isa = table->isa});
      const Rows expected = run(*one, tokens, 1);
      for (const int64_t piece : {2, 3, 4, 8, 16, 150})
        EXPECT_EQ(run(*two, tokens, piece), expected) << table->isa << " in pieces of " << piece;
    }
  }
}

TEST_F(PackedDeterminism, ALongSequenceInOneFeedEqualsTokenByToken) {
  const std::vector<TokenId> tokens = tokens_of(config_, 512);
  const auto model = open({.threads = 2});
  EXPECT_EQ(run(*model, tokens, 512), run(*model, tokens, 1));
}

TEST_F(PackedDeterminism, EveryInstructionSetGivesTheSameLogits) {
  const std::vector<TokenId> tokens = tokens_of(config_, 100);
  const Rows expected = run(*open({.threads = 1, .isa = "scalar"}), tokens, 100);
  for (const KernelTable* table : runnable_kernels())
    EXPECT_EQ(run(*open({.threads = 1, .isa = table->isa}), tokens, 100), expected) << table->isa;
}

// Negative control: equality of bits is not trivially true of these models.
TEST_F(PackedDeterminism, OneOtherTokenChangesAllLaterLogits) {
  std::vector<TokenId> tokens = tokens_of(config_, 20);
  const auto model = open({.threads = 1});
  const Rows before = run(*model, tokens, 20);
  tokens[5] = (tokens[5] + 1) % TokenId(config_.vocab);
  const Rows after = run(*model, tokens, 20);
  for (size_t t = 0; t < 20; ++t) EXPECT_EQ(before[t] == after[t], t < 5) << t;
}

}  // namespace
}  // namespace edgeq
