// SPDX-License-Identifier: Apache-2.0
#include "runtime/kv_layout.h"

namespace edgeq {

namespace {

Reach furthest(const ModelConfig& config, const Reach& reach) {
  Reach most;
  for (const LayerShape& shape : config.layers) {
    const Reach own = reach_of(shape, reach);
    if (!own.limited()) return {};
    most = {.window = std::max(most.window, own.window), .sinks = std::max(most.sinks, own.sinks)};
  }
  return most;
}

}  // namespace

KvLayout::KvLayout(const ModelConfig& config, const KvScheme& scheme, const Reach& reach)
    : reach(furthest(config, reach)) {
  for (const LayerShape& shape : config.layers) {
    const auto keys = [&](KvType type) { return KvPanels::keys(type, shape.head_dim, kPage); };
    const auto values = [&](KvType type) { return KvPanels::values(type, shape.head_dim, kPage); };
    layers.push_back({.head_dim = shape.head_dim,
                      .heads = shape.kv_heads,
                      .keys = place(keys(scheme.keys), keys(KvType::f32), shape.kv_heads),
                      .values = place(values(scheme.values), values(KvType::f32), shape.kv_heads)});
  }
}

KvLayout::Side KvLayout::place(const KvPanels& panels, const KvPanels& open_panels, int64_t heads) {
  const Side side{.panels = panels, .open_panels = open_panels, .at = page_bytes, .open_at = open_page_bytes};
  page_bytes += heads * panels.bytes();
  if (panels.coded()) open_page_bytes += heads * open_panels.bytes();
  return side;
}

}  // namespace edgeq
