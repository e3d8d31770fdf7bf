// SPDX-License-Identifier: Apache-2.0
#include "models/folds.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "models/names.h"

namespace edgeq {
namespace {

// Of a decoder block, in the order of its stages.
enum StageIndex { kQkv, kO, kUp, kDown };

int site_index(const Block& block, std::string_view part) {
  const std::string name = layer_site(block.index, part);
  const auto found = std::ranges::find(block.sites, name, &Site::name);
  EDGEQ_CHECK(found != block.sites.end(), "a decoder block has the sites of its family");
  return int(found - block.sites.begin());
}

std::vector<int64_t> each_its_own(int64_t width) {
  std::vector<int64_t> channels(size_t(width), 0);
  std::iota(channels.begin(), channels.end(), int64_t(0));
  return channels;
}

Fold fold_of(const Block& block, int stage, std::vector<int64_t> channel_of_column) {
  Fold fold{.stage = stage, .readers = block.stages[size_t(stage)].sites, .vectors = {}};
  fold.channels = 1 + *std::ranges::max_element(channel_of_column);
  fold.channel_of_column = std::move(channel_of_column);
  return fold;
}

Fold norm_fold(const Block& block, int stage, std::string_view norm) {
  const int64_t width = block.sites[size_t(block.stages[size_t(stage)].sites[0])].weight.cols();
  Fold fold = fold_of(block, stage, each_its_own(width));
  const std::string gain = layer_site(block.index, norm), bias = gain + ".bias";
  for (size_t i = 0; i < block.others.size(); ++i)
    if (block.others[i].name == gain || block.others[i].name == bias) fold.vectors.push_back(int(i));
  EDGEQ_CHECK(!fold.vectors.empty(), "a decoder block has the norms of its family");
  return fold;
}

// Query head h reads the values of head h / (heads / kv_heads).
Fold value_fold(const ModelConfig& config, const Block& block) {
  const LayerShape& shape = config.layers[size_t(block.index)];
  const int64_t group = shape.heads / shape.kv_heads;
  std::vector<int64_t> channels(size_t(shape.heads * shape.head_dim), 0);
  for (int64_t c = 0; c < std::ssize(channels); ++c)
    channels[size_t(c)] = c / shape.head_dim / group * shape.head_dim + c % shape.head_dim;
  Fold fold = fold_of(block, kO, std::move(channels));
  fold.producer = site_index(block, "attn.v_proj");
  return fold;
}

}  // namespace

std::vector<Fold> folds_of(const ModelConfig& config, const Block& block) {
  const bool shared = config.residual == Residual::parallel_shared;
  std::vector<Fold> folds;
  if (config.gated_mlp) {
    const LayerShape& shape = config.layers[size_t(block.index)];
    folds.push_back(fold_of(block, kDown, each_its_own(shape.ffn)));
    folds.back().producer = site_index(block, "mlp.up_proj");
  }
  if (config.pre_norm && !shared) folds.push_back(norm_fold(block, kUp, "mlp_norm"));
  folds.push_back(value_fold(config, block));
  if (config.pre_norm) {
    folds.push_back(norm_fold(block, kQkv, "attn_norm"));
    const std::vector<int>& others = block.stages[kUp].sites;
    if (shared) folds.back().readers.insert(folds.back().readers.end(), others.begin(), others.end());
  }
  return folds;
}

std::vector<std::string> unfoldable(const ModelConfig& config) {
  std::vector<std::string> reasons;
  if (!config.pre_norm) reasons.emplace_back("attention and feed-forward read the residual stream itself");
  if (!config.gated_mlp) reasons.emplace_back("down reads through a nonlinearity");
  return reasons;
}

void scale_channels(Block& block, const Fold& fold, std::span<const float> scales) {
  EDGEQ_CHECK(std::ssize(scales) == fold.channels, "a scale for every channel");
  for (const int i : fold.readers) {
    const MatrixView<float> weight = block.sites[size_t(i)].weight.matrix();
    for (int64_t r = 0; r < weight.rows; ++r)
      for (int64_t c = 0; c < weight.cols; ++c)
        weight(r, c) *= scales[size_t(fold.channel_of_column[size_t(c)])];
  }
  const auto divide = [&](Tensor& made) {  // row by row; a vector has rows of one
    const int64_t width = made.size() / fold.channels;
    for (int64_t i = 0; i < made.size(); ++i) made.f32()[i] /= scales[size_t(i / width)];
  };
  for (const int i : fold.vectors) divide(block.others[size_t(i)].tensor);
  if (fold.producer < 0) return;
  Site& producer = block.sites[size_t(fold.producer)];
  divide(producer.weight);
  if (!producer.bias.empty()) divide(producer.bias);
}

}  // namespace edgeq
