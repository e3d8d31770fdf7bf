// SPDX-License-Identifier: Apache-2.0
// Keys and values of one sequence: a table of pages of a pool (runtime/kv_pool.h), which sequences that begin
// alike have in common. A page that others own too is copied before it is written to.
//
// The scales of a key's page depend on all of its positions. So that a token's logits depend on nothing but
// the tokens before it, a token sees whole earlier pages as their codes and its own page as floats, in
// prefill and decode alike. What is kept as codes is therefore first written as f32 to an "open" page, which
// stays until the sequence has moved two pages on. What is kept as f32 or f16 is the same to every token and
// needs no open pages.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "models/config.h"
#include "models/kv_scheme.h"
#include "runtime/kv_pool.h"

namespace edgeq {

class KvCache {
 public:
  static constexpr int64_t kPage = KvLayout::kPage;
  static constexpr int64_t kOpenPages = KvPool::kOpenPages;

  // Empty, with a pool of its own.
  KvCache(const KvLayout& layout, int64_t max_tokens);
  // Empty; pages are taken as the sequence grows. Throws Error when the pool has all its sequences.
  KvCache(std::shared_ptr<KvPool> pool, int64_t max_tokens);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  int64_t max_tokens() const { return max_tokens_; }
  bool has_codes() const { return pool_->layout().has_codes(); }
  // The end of the longest chunk that may begin at `first`: it lies in no more pages than there are open
  // ones.
  static int64_t chunk_limit(int64_t first) { return (first / kPage + kOpenPages) * kPage; }

  // Announces that positions [first, end), up to chunk_limit(first), are written next; all before are intact.
  // Takes the pages that this needs. Throws Error, and changes nothing, when the pool has too few.
  void extend(int64_t first, int64_t end);
  int64_t pages_wanted(int64_t first, int64_t end) const noexcept;  // that extend() takes
  // How many of the first `tokens` positions are as if nothing after them had been written: all, or those
  // before their last page.
  int64_t intact(int64_t tokens) const noexcept;
  // Gives back the pages that the first `tokens` positions do not need.
  void truncate(int64_t tokens) noexcept;
  // Becomes the first `tokens` positions of another cache of the same pool, with it as owner of their pages.
  // Returns how many positions are intact, as intact() does.
  int64_t adopt(const KvCache& from, int64_t tokens) noexcept;
  // Empty again, for a sequence of at most `max_tokens`, which is no more than the cache was made for.
  void restart(int64_t max_tokens) noexcept;
  // Gives back the pages that no token after the first `tokens` sees (KvLayout::reach). A page more than
  // that is kept, so that a few tokens can be taken back; where pages are missing, intact() says 0.
  void forget(int64_t tokens) noexcept;
  int64_t pages() const noexcept { return held_ - (first_ - sink_pages_); }
  bool whole() const noexcept { return first_ == sink_pages_; }

  // The first `tokens` positions, which are intact: their pages, and the floats of the last one where it is
  // not full and codes are kept. restore() makes an empty cache that; `bytes` has bytes_of(tokens).
  int64_t bytes_of(int64_t tokens) const noexcept;
  void save(int64_t tokens, std::byte* bytes) const noexcept;
  void restore(int64_t tokens, const std::byte* bytes);

  struct Place {
    int64_t layer = 0, head = 0, page = 0;
  };
  // key, value: head_dim floats; the key is already rotated. Different heads and positions may be written by
  // different threads.
  void write(int64_t layer, int64_t head, int64_t position, const float* key, const float* value) noexcept;
  // Makes the codes of a page whose positions are all written.
  void encode(const Place& place) noexcept;

  // What a token sees of its own page, or of an earlier one.
  enum class Page : uint8_t { own, earlier };
  // Panels `range` of the page: of keys, rows are positions; of values, rows are dimensions and columns all
  // positions of the page. scratch: the thread's own, kPage * (head_dim padded to 16) floats.
  KernelFloatWeight keys(const KernelTable& kernels, const Place& place, Page seen, PanelRange range,
                         float* scratch) const noexcept;
  KernelFloatWeight values(const KernelTable& kernels, const Place& place, Page seen, PanelRange range,
                           float* scratch) const noexcept;

 private:
  using Side = KvLayout::Side;

  const KvLayout::Layer& layer(const Place& place) const noexcept {
    return pool_->layout().layers[size_t(place.layer)];
  }
  // Where it begins, in its page and in its open page.
  unsigned char* stored(const Side& side, const Place& place) const noexcept;
  unsigned char* open(const Side& side, const Place& place) const noexcept;
  // Where what is written goes first, and its panels there: an open page where codes are made of it later.
  unsigned char* written(const Side& side, const Place& place) const noexcept {
    return side.panels.coded() ? open(side, place) : stored(side, place);
  }
  static const KvPanels& written_panels(const Side& side) noexcept {
    return side.panels.coded() ? side.open_panels : side.panels;
  }
  void encode(const Side& side, const Place& place) noexcept;
  KernelFloatWeight view(const KernelTable& kernels, const Side& side, const Place& place, Page seen,
                         PanelRange range, float* scratch) const noexcept;

  std::shared_ptr<KvPool> pool_;
  int64_t max_tokens_ = 0;
  const int64_t sink_pages_;
  // The page of the pool for every kPage positions, of which it holds those below held_ but for
  // [sink_pages_, first_).
  std::vector<int32_t> table_;
  int64_t first_ = 0, held_ = 0;
  int32_t open_set_ = 0;
  std::array<int64_t, kOpenPages> open_;  // which page each open one is
};

}  // namespace edgeq
