// SPDX-License-Identifier: Apache-2.0
#include "runtime/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace edgeq {

KvCache::KvCache(const KvLayout& layout, int64_t max_tokens)
    : KvCache(std::make_shared<KvPool>(layout, layout.most_pages(max_tokens), 1), max_tokens) {}

KvCache::KvCache(std::shared_ptr<KvPool> pool, int64_t max_tokens)
    : pool_(std::move(pool)),
      max_tokens_(max_tokens),
      sink_pages_(KvLayout::pages_of(pool_->layout().reach.sinks)),
      table_(size_t(KvLayout::pages_of(max_tokens))),
      first_(sink_pages_),
      open_set_(pool_->take_open_set()) {
  open_.fill(-1);
}

KvCache::~KvCache() {
  truncate(0);
  pool_->release_open_set(open_set_);
}

int64_t KvCache::pages_wanted(int64_t first, int64_t end) const noexcept {
  int64_t wanted = 0;
  for (int64_t page = first / kPage; page * kPage < end; ++page)
    if (page >= held_ || pool_->shared(table_[size_t(page)])) ++wanted;
  return wanted;
}

void KvCache::extend(int64_t first, int64_t end) {
  if (const int64_t wanted = pages_wanted(first, end); wanted > pool_->free_pages())
    throw Error(
        fmt::format("a sequence of {} tokens needs {} more pages of {} in the KV pool; {} of {} are free",
                    end, wanted, kPage, pool_->free_pages(), pool_->pages()));
  for (int64_t page = first / kPage; page * kPage < end; ++page) {
    if (page >= held_) {
      table_[size_t(held_++)] = pool_->take();
    } else if (int32_t& mine = table_[size_t(page)]; pool_->shared(mine)) {
      const int32_t copy = pool_->take();
      pool_->copy(mine, copy);
      pool_->release(mine);
      mine = copy;
    }
    open_[size_t(page % kOpenPages)] = page;
  }
}

int64_t KvCache::intact(int64_t tokens) const noexcept {
  const int64_t page = tokens / kPage;
  const int64_t kept = !has_codes() || open_[size_t(page % kOpenPages)] == page ? tokens : page * kPage;
  const int64_t seen = std::max<int64_t>(0, kept + 1 - pool_->layout().reach.window);
  return !whole() && first_ * kPage > seen ? 0 : kept;
}

void KvCache::truncate(int64_t tokens) noexcept {
  const int64_t kept = KvLayout::pages_of(tokens);
  while (held_ > (whole() ? kept : std::max(kept, first_))) pool_->release(table_[size_t(--held_)]);
  if (whole() || kept >= first_) return;
  for (int64_t page = 0; page < sink_pages_; ++page) pool_->release(table_[size_t(page)]);
  first_ = sink_pages_;
  held_ = 0;
}

void KvCache::forget(int64_t tokens) noexcept {
  const Reach& reach = pool_->layout().reach;
  if (!reach.limited()) return;
  while ((first_ + 2) * kPage <= tokens + 1 - reach.window) pool_->release(table_[size_t(first_++)]);
}

int64_t KvCache::adopt(const KvCache& from, int64_t tokens) noexcept {
  restart(max_tokens_);
  if (!from.whole()) return 0;
  const int64_t kept = from.intact(tokens);
  for (; held_ < KvLayout::pages_of(kept); ++held_) {
    table_[size_t(held_)] = from.table_[size_t(held_)];
    pool_->share(table_[size_t(held_)]);
  }
  if (has_codes() && kept % kPage != 0) {
    const int64_t page = kept / kPage, index = page % kOpenPages;
    std::memcpy(pool_->open_page(open_set_, index), pool_->open_page(from.open_set_, index),
                size_t(pool_->layout().open_page_bytes));
    open_[size_t(index)] = page;
  }
  return kept;
}

int64_t KvCache::bytes_of(int64_t tokens) const noexcept {
  const KvLayout& layout = pool_->layout();
  return KvLayout::pages_of(tokens) * layout.page_bytes + (tokens % kPage != 0 ? layout.open_page_bytes : 0);
}

void KvCache::save(int64_t tokens, std::byte* bytes) const noexcept {
  for (int64_t page = 0; page < KvLayout::pages_of(tokens); ++page)
    pool_->each_piece([&](int64_t at, int64_t count) {
      std::memcpy(bytes, pool_->piece(table_[size_t(page)], at, count), size_t(count));
      bytes += count;
    });
  if (tokens % kPage != 0 && has_codes())
    std::memcpy(bytes, pool_->open_page(open_set_, tokens / kPage % kOpenPages),
                size_t(pool_->layout().open_page_bytes));
}

void KvCache::restore(int64_t tokens, const std::byte* bytes) {
  for (int64_t at = 0; at < tokens; at += kPage) extend(at, std::min(at + kPage, tokens));
  for (int64_t page = 0; page < KvLayout::pages_of(tokens); ++page)
    pool_->each_piece([&](int64_t at, int64_t count) {
      std::memcpy(pool_->piece(table_[size_t(page)], at, count), bytes, size_t(count));
      bytes += count;
    });
  open_.fill(-1);  // of whole pages there are no floats
  if (tokens % kPage == 0 || !has_codes()) return;
  const int64_t page = tokens / kPage, index = page % kOpenPages;
  std::memcpy(pool_->open_page(open_set_, index), bytes, size_t(pool_->layout().open_page_bytes));
  open_[size_t(index)] = page;
}

void KvCache::restart(int64_t max_tokens) noexcept {
  truncate(0);
  open_.fill(-1);
  max_tokens_ = max_tokens;
}

unsigned char* KvCache::stored(const Side& side, const Place& place) const noexcept {
  const int64_t bytes = side.panels.bytes();
  return pool_->piece(table_[size_t(place.page)], side.at + place.head * bytes, bytes);
}

unsigned char* KvCache::open(const Side& side, const Place& place) const noexcept {
  return pool_->open_page(open_set_, place.page % kOpenPages) + side.open_at +
         place.head * side.open_panels.bytes();
}

void KvCache::write(int64_t layer, int64_t head, int64_t position, const float* key,
                    const float* value) noexcept {
  const Place place{layer, head, position / kPage};
  const KvLayout::Layer& l = this->layer(place);
  written_panels(l.keys).write_row(written(l.keys, place), position % kPage, key);
  written_panels(l.values).write_column(written(l.values, place), position % kPage, value);
}

void KvCache::encode(const Side& side, const Place& place) noexcept {
  if (side.panels.coded())
    side.panels.encode(reinterpret_cast<const float*>(open(side, place)), stored(side, place));
}

void KvCache::encode(const Place& place) noexcept {
  encode(layer(place).keys, place);
  encode(layer(place).values, place);
}

KernelFloatWeight KvCache::view(const KernelTable& kernels, const Side& side, const Place& place, Page seen,
                                PanelRange range, float* scratch) const noexcept {
  if (side.panels.coded() && seen == Page::own)
    return side.open_panels.view(kernels, open(side, place), range, scratch);
  return side.panels.view(kernels, stored(side, place), range, scratch);
}

KernelFloatWeight KvCache::keys(const KernelTable& kernels, const Place& place, Page seen, PanelRange range,
                                float* scratch) const noexcept {
  return view(kernels, layer(place).keys, place, seen, range, scratch);
}

KernelFloatWeight KvCache::values(const KernelTable& kernels, const Place& place, Page seen, PanelRange range,
                                  float* scratch) const noexcept {
  return view(kernels, layer(place).values, place, seen, range, scratch);
}

}  // namespace edgeq
