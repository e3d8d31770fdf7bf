// SPDX-License-Identifier: Apache-2.0
// The pruning loop on real decoders: what a cut means, and what the journal keeps.
#include "recipe/prune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "models/coded_checkpoint.h"
#include "models/names.h"
#include "models/sites.h"
#include "models/torch/torch_model.h"
#include "pruning/structure.h"
#include "recipe/prune_model.h"
#include "tests/support/golden_logits.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

class PruneOfADecoder : public testing::TestWithParam<std::string> {
 protected:
  Windows some_windows() const {
    Windows windows{.length = 32, .tokens = {}};
    for (int i = 0; i < 32 * 8; ++i) windows.tokens.push_back(TokenId((i * 29 + i * i / 7) % 48));
    return windows;
  }
  // The residual stream behind the last block of a model, over one window.
  static Tensor leaving(
      const Checkpoint& checkpoint, std::span<const TokenId> window,
      const std::function<void(Block&)>& change = [](Block&) {}) {
    const auto walk =
        open_torch_blockwise(std::shared_ptr<const Checkpoint>(&checkpoint, [](const Checkpoint*) {}));
    const Ends ends = walk->ends();
    State state = walk->begin(window, ends);
    for (int b = 0; b < int(checkpoint.config().layers.size()); ++b) {
      Block block = walk->load(b);
      change(block);
      walk->enter(block, state);
      for (int s = 0; s < int(block.stages.size()); ++s) walk->step(block, s, state);
    }
    return state.hidden;
  }
  static void expect_close(const Tensor& a, const Tensor& b) {
    float most = 0, largest = 0;
    for (int64_t i = 0; i < b.size(); ++i) {
      most = std::max(most, std::abs(a.f32()[i] - b.f32()[i]));
      largest = std::max(largest, std::abs(b.f32()[i]));
    }
    EXPECT_LT(most, 1e-4f * largest);  // orders of f32 sums
  }

  std::shared_ptr<const Checkpoint> checkpoint_ = open_checkpoint(read_golden(GetParam()).folder);
  std::unique_ptr<BlockwiseModel> walk_ = open_torch_blockwise(checkpoint_);
  std::unique_ptr<BackwardModel> backward_ = open_torch_backward(checkpoint_->config());
  Windows windows_ = some_windows();
};

// What is cut without compensation is what would add nothing if its columns were zeros.
TEST_P(PruneOfADecoder, APlainCutIsTheModelWithZerosInItsPlace) {
  PruneSpec spec;
  spec.shares = {.heads = checkpoint_->config().joint_qk_norm ? 0 : 0.5, .ffn = 0.5, .channel_multiple = 1};
  spec.score = "taylor";
  spec.compensate = false;
  const TempDir dir;
  Journal journal(dir.file("work"), "key");
  const Cuts cuts =
      prune({.spec = spec, .model = *walk_, .backward = backward_.get(), .windows = windows_}, journal, {});
  const PrunedModel from_journal(checkpoint_, cuts, journal, "{}");
  const auto pruned =
      as_checkpoint(std::shared_ptr<const CodedModel>(&from_journal, [](const CodedModel*) {}));
  const auto plain = as_checkpoint(std::make_shared<PrunedModel>(checkpoint_, cuts));
  const Tensor expected = leaving(*checkpoint_, windows_[0], [&](Block& block) {
    const Kept& kept = cuts.layers[size_t(block.index)].kept;
    const auto zero = [&](const char* part, const std::vector<int64_t>& stays, int64_t width) {
      const auto w = find_site(block, part)->weight.matrix();
      for (int64_t r = 0; r < w.rows; ++r)
        for (int64_t c = 0; c < w.cols; ++c)
          if (std::ranges::count(stays, c / width) == 0) w(r, c) = 0;
    };
    zero("attn.o_proj", kept.heads, checkpoint_->config().layers[0].head_dim);
    zero("mlp.down_proj", kept.channels, 1);
  });
  expect_close(leaving(*plain, windows_[0]), expected);
  expect_close(leaving(*pruned, windows_[0]), expected);
  EXPECT_EQ(pruned->hash(), plain->hash());
  EXPECT_LT(pruned->config().weight_count(), checkpoint_->config().weight_count());
}

// A mask works on what is left of heads and channels; what is plain has the same zeros and nothing moved.
TEST_P(PruneOfADecoder, AMaskMakesZerosInWhatIsLeft) {
  PruneSpec spec;
  spec.shares = {.ffn = 0.5, .channel_multiple = 2};
  spec.mask = MaskSpec{.method = "sparsegpt", .sparsity = parse_pattern("1:2")};
  const TempDir dir;
  Journal journal(dir.file("work"), "key");
  const Cuts cuts =
      prune({.spec = spec, .model = *walk_, .backward = nullptr, .windows = windows_}, journal, {});
  const PrunedModel from_journal(checkpoint_, cuts, journal, "{}");
  const std::shared_ptr<const Checkpoint> masked =
      as_checkpoint(std::shared_ptr<const CodedModel>(&from_journal, [](const CodedModel*) {}));
  const auto plain = as_checkpoint(std::make_shared<PrunedModel>(checkpoint_, cuts, masked));
  const auto cut_only = as_checkpoint(std::make_shared<PrunedModel>(checkpoint_, cuts));
  for (const LayerCut& layer : cuts.layers) {
    for (const SiteZeros& site : layer.zeros) {
      EXPECT_EQ(site.share, 0.5);
      const std::string name = layer_site(layer.block, site.part);
      const Tensor w = masked->load(name), p = plain->load(name), o = cut_only->load(name);
      for (int64_t i = 0; i < w.size(); ++i) ASSERT_EQ(p.f32()[i], w.f32()[i] == 0 ? 0 : o.f32()[i]) << name;
    }
    EXPECT_EQ(layer.zeros.size(), layer_sites(cuts.config, layer.block).size());
  }
}

TEST_P(PruneOfADecoder, ABlockThatIsLeftOutIsNotWalked) {
  PruneSpec spec;
  spec.shares = {.blocks = 0.34};
  spec.compensate = false;
  const TempDir dir;
  Journal journal(dir.file("work"), "key");
  const Cuts cuts =
      prune({.spec = spec, .model = *walk_, .backward = backward_.get(), .windows = windows_}, journal, {});
  ASSERT_EQ(cuts.block_scores.size(), checkpoint_->config().layers.size());
  ASSERT_EQ(cuts.layers.size(), cuts.config.layers.size());
  const auto plain = as_checkpoint(std::make_shared<PrunedModel>(checkpoint_, cuts));
  const Ends ends = walk_->ends();
  State state = walk_->begin(windows_[1], ends);
  for (const LayerCut& layer : cuts.layers) {
    const Block block = walk_->load(layer.block);
    walk_->enter(block, state);
    for (int s = 0; s < int(block.stages.size()); ++s) walk_->step(block, s, state);
  }
  const Tensor got = leaving(*plain, windows_[1]);
  EXPECT_TRUE(std::equal(got.f32(), got.f32() + got.size(), state.hidden.f32()));
}

TEST_P(PruneOfADecoder, WhatTheJournalHoldsIsNotMadeAgainAndTheRestIsTheSame) {
  PruneSpec spec;
  spec.shares = {.ffn = 0.3, .channel_multiple = 1};
  const TempDir dir;
  const auto run = [&](const std::string& folder) {
    Journal journal(dir.file(folder), "key");
    return prune({.spec = spec, .model = *walk_, .backward = nullptr, .windows = windows_}, journal, {});
  };
  run("straight");
  const std::string last =
      "layers." + std::to_string(checkpoint_->config().layers.size() - 1) + ".safetensors";
  run("resumed");
  const std::string whole = read_text_file(dir.file("resumed/" + last));
  std::filesystem::remove(dir.file("resumed/" + last));
  run("resumed");
  EXPECT_EQ(read_text_file(dir.file("resumed/" + last)), whole);
  EXPECT_EQ(read_text_file(dir.file("straight/" + last)), whole);
}

INSTANTIATE_TEST_SUITE_P(, PruneOfADecoder, testing::ValuesIn(gradient_variants()), variant_test_name);

TEST(PruneConfigs, OfFamiliesWhoseHeadSizeIsWidthByHeadsKeepTheirHeads) {
  PruneSpec heads, channels;
  heads.shares = {.heads = 0.5};
  channels.shares = {.ffn = 0.5, .channel_multiple = 1};
  for (const char* family : {"gpt2", "gpt-neox", "stablelm"}) {
    const auto checkpoint = open_checkpoint(read_golden(family).folder);
    EXPECT_NE(error_of([&] { require_config(heads, checkpoint->config()); }).find("no config of a"),
              std::string::npos)
        << family;
    require_config(channels, checkpoint->config());
  }
  for (const char* family : {"llama", "qwen2", "qwen3", "gemma2", "granite"})
    require_config(heads, open_checkpoint(read_golden(family).folder)->config());
}

}  // namespace
}  // namespace edgeq
