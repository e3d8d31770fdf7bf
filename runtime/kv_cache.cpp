// SPDX-License-Identifier: Apache-2.0
#include "runtime/kv_cache.h"

#include "formats/panels.h"

namespace edgeq {

KvCache::KvCache(const ModelConfig& config, int64_t max_tokens) : max_tokens_(max_tokens) {
  // A spare panel keeps the values' panels from lying a power of two apart, where they would compete for the
  // same cache sets.
  room_ = round_up(max_tokens, kPanelRows) + kPanelRows;
  int64_t floats = 0;
  for (const LayerShape& shape : config.layers) {
    Layer layer{.head_dim = shape.head_dim};
    layer.key_floats = room_ * shape.head_dim;
    layer.value_floats = room_ * round_up(shape.head_dim, kPanelRows);
    layer.keys = floats;
    layer.values = floats + shape.kv_heads * layer.key_floats;
    floats = layer.values + shape.kv_heads * layer.value_floats;
    layers_.push_back(layer);
  }
  floats_ = AlignedBuffer<float>(floats);
}

int64_t KvCache::bytes_per_token(const ModelConfig& config) {
  int64_t floats = 0;
  for (const LayerShape& shape : config.layers) floats += 2 * shape.kv_heads * shape.head_dim;
  return floats * int64_t(sizeof(float));
}

void KvCache::write(int64_t layer, int64_t head, int64_t position, const float* key,
                    const float* value) noexcept {
  const Layer& l = layers_[size_t(layer)];
  float* keys = floats_.data() + l.keys + head * l.key_floats +
                position / kPanelRows * kPanelRows * l.head_dim + position % kPanelRows;
  float* values = floats_.data() + l.values + head * l.value_floats + position * kPanelRows;
  for (int64_t d = 0; d < l.head_dim; ++d) {
    keys[d * kPanelRows] = key[d];
    values[d / kPanelRows * room_ * kPanelRows + d % kPanelRows] = value[d];
  }
}

KernelFloatWeight KvCache::keys(int64_t layer, int64_t head, int64_t first) const noexcept {
  const Layer& l = layers_[size_t(layer)];
  const float* begin = floats_.data() + l.keys + head * l.key_floats + first * l.head_dim;
  return {.panels = reinterpret_cast<const unsigned char*>(begin),
          .panel_bytes = l.head_dim * kPanelRows * int64_t(sizeof(float)),
          .cols = l.head_dim,
          .element = 0};
}

KernelFloatWeight KvCache::values(int64_t layer, int64_t head, int64_t first, int64_t count) const noexcept {
  const Layer& l = layers_[size_t(layer)];
  const float* begin = floats_.data() + l.values + head * l.value_floats + first * kPanelRows;
  return {.panels = reinterpret_cast<const unsigned char*>(begin),
          .panel_bytes = room_ * kPanelRows * int64_t(sizeof(float)),
          .cols = count,
          .element = 0};
}

}  // namespace edgeq
