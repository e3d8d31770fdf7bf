// SPDX-License-Identifier: Apache-2.0
#include "runtime/workspace.h"

#include <algorithm>

#include "formats/panels.h"
#include "runtime/attention.h"

namespace edgeq {
namespace {

// The largest of a figure over all layers.
template <class Figure>
int64_t widest(const ModelConfig& config, Figure figure) {
  int64_t most = 0;
  for (const LayerShape& shape : config.layers) most = std::max(most, figure(shape));
  return most;
}

int64_t widest_input(const ModelConfig& config) {
  return std::max(config.hidden,
                  widest(config, [](const LayerShape& s) { return std::max(s.heads * s.head_dim, s.ffn); }));
}

}  // namespace

ThreadSpace::ThreadSpace(const ModelConfig& config, int64_t score_positions, int64_t max_cols)
    : input(1, max_cols), panel(max_cols * kPanelRows) {
  const int64_t group = widest(config, [](const LayerShape& s) { return s.heads / s.kv_heads; });
  const int64_t head = round_up(widest(config, [](const LayerShape& s) { return s.head_dim; }), kPanelRows);
  queries = AlignedBuffer<float>(kTileTokens * group * head);
  key = AlignedBuffer<float>(head);
  scores = AlignedBuffer<float>(std::max(kScoreFloats, group * score_positions));
  decoded = AlignedBuffer<float>(KvCache::kPage * head);
  mixed = AlignedBuffer<float>(kTileTokens * group * head);
  mixed_page = AlignedBuffer<float>(kTileTokens * group * head);
}

Workspace::Workspace(const ModelConfig& config, const Reach& reach, int64_t max_tokens, int thread_count)
    : input(max_tokens, widest_input(config)), hidden(max_tokens, config.hidden) {
  const int64_t q_width = widest(config, [](const LayerShape& s) { return s.heads * s.head_dim; });
  const int64_t kv_width = widest(config, [](const LayerShape& s) { return s.kv_heads * s.head_dim; });
  const int64_t ffn = widest(config, [](const LayerShape& s) { return s.ffn; });
  q = Rows(max_tokens, q_width);
  k = Rows(max_tokens, kv_width);
  v = Rows(max_tokens, kv_width);
  attended = Rows(max_tokens, q_width);
  gate = Rows(max_tokens, ffn);
  up = Rows(max_tokens, ffn);
  output = Rows(max_tokens, config.hidden);
  const int64_t positions = Attention::most_scores(config.context, reach);
  scores = Rows(widest(config, [](const LayerShape& s) { return s.heads; }), positions);
  for (int i = 0; i < thread_count; ++i) threads.emplace_back(config, positions, widest_input(config));
}

}  // namespace edgeq
