// SPDX-License-Identifier: Apache-2.0
#include "runtime/kv_cache.h"

#include <algorithm>

namespace edgeq {

KvLayout::KvLayout(const ModelConfig& config, const KvScheme& scheme) {
  for (const LayerShape& shape : config.layers) {
    const auto keys = [&](KvType type) { return KvPanels::keys(type, shape.head_dim, kPage); };
    const auto values = [&](KvType type) { return KvPanels::values(type, shape.head_dim, kPage); };
    layers.push_back({.head_dim = shape.head_dim,
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

KvCache::KvCache(const ModelConfig& config, const KvScheme& scheme, int64_t max_tokens)
    : layout_(config, scheme), max_tokens_(max_tokens) {
  open_.fill(-1);
  pages_ = AlignedBuffer<unsigned char>((max_tokens + kPage - 1) / kPage * layout_.page_bytes);
  open_pages_ = AlignedBuffer<unsigned char>(kOpenPages * layout_.open_page_bytes);
}

void KvCache::extend(int64_t first, int64_t end) noexcept {
  for (int64_t page = first / kPage; page * kPage < end; ++page) open_[size_t(page % kOpenPages)] = page;
}

int64_t KvCache::intact(int64_t tokens) const noexcept {
  const int64_t page = tokens / kPage;
  return !has_codes() || open_[size_t(page % kOpenPages)] == page ? tokens : page * kPage;
}

int64_t KvCache::stored_at(const Side& side, const Place& place) const noexcept {
  return place.page * layout_.page_bytes + side.at + place.head * side.panels.bytes();
}

int64_t KvCache::open_at(const Side& side, const Place& place) const noexcept {
  return place.page % kOpenPages * layout_.open_page_bytes + side.open_at +
         place.head * side.open_panels.bytes();
}

void KvCache::write(const Side& side, const Place& place, int64_t row, int64_t col, float value) noexcept {
  if (side.panels.coded()) {
    side.open_panels.write(open_pages_.data() + open_at(side, place), row, col, value);
  } else {
    side.panels.write(pages_.data() + stored_at(side, place), row, col, value);
  }
}

void KvCache::write(int64_t layer, int64_t head, int64_t position, const float* key,
                    const float* value) noexcept {
  const KvLayout::Layer& l = layout_.layers[size_t(layer)];
  const Place place{layer, head, position / kPage};
  for (int64_t d = 0; d < l.head_dim; ++d) {
    write(l.keys, place, position % kPage, d, key[d]);
    write(l.values, place, d, position % kPage, value[d]);
  }
}

void KvCache::encode(const Side& side, const Place& place) noexcept {
  if (side.panels.coded())
    side.panels.encode(reinterpret_cast<const float*>(open_pages_.data() + open_at(side, place)),
                       pages_.data() + stored_at(side, place));
}

void KvCache::encode(const Place& place) noexcept {
  const KvLayout::Layer& layer = layout_.layers[size_t(place.layer)];
  encode(layer.keys, place);
  encode(layer.values, place);
}

KernelFloatWeight KvCache::view(const KernelTable& kernels, const Side& side, const Place& place, Page seen,
                                PanelRange range, float* scratch) const noexcept {
  if (side.panels.coded() && seen == Page::own)
    return side.open_panels.view(kernels, open_pages_.data() + open_at(side, place), range, scratch);
  return side.panels.view(kernels, pages_.data() + stored_at(side, place), range, scratch);
}

KernelFloatWeight KvCache::keys(const KernelTable& kernels, const Place& place, Page seen, PanelRange range,
                                float* scratch) const noexcept {
  return view(kernels, layout_.layers[size_t(place.layer)].keys, place, seen, range, scratch);
}

KernelFloatWeight KvCache::values(const KernelTable& kernels, const Place& place, Page seen, PanelRange range,
                                  float* scratch) const noexcept {
  return view(kernels, layout_.layers[size_t(place.layer)].values, place, seen, range, scratch);
}

}  // namespace edgeq
