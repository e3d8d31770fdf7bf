// SPDX-License-Identifier: Apache-2.0
// The pages that sequences keep their keys and values in, all of one size and reserved at the start: taking
// and giving back allocates nothing. A page has as many owners as sequences that begin alike (Kwon et al.,
// "PagedAttention", 2023); who wants to write to one that others own too takes another and copies
// (runtime/kv_cache.h). The system hands the memory out as pages are first used, lowest first.
// Where keys or values are kept as codes, each sequence has besides a set of kOpenPages open pages.
// Not thread-safe: the sequences of one pool take turns.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/aligned_buffer.h"
#include "runtime/kv_layout.h"

namespace edgeq {

class KvPool {
 public:
  static constexpr int64_t kOpenPages = 2;

  // Room for `pages` pages, and for the open pages of `sequences` sequences.
  KvPool(KvLayout layout, int64_t pages, int64_t sequences);

  const KvLayout& layout() const { return layout_; }
  int64_t pages() const { return std::ssize(owners_); }
  int64_t free_pages() const { return std::ssize(free_); }
  int64_t bytes() const;

  // A page that nobody owns; there must be one. Its contents are whatever was in it.
  int32_t take() noexcept;
  void share(int32_t page) noexcept { ++owners_[size_t(page)]; }
  void release(int32_t page) noexcept;
  bool shared(int32_t page) const noexcept { return owners_[size_t(page)] > 1; }
  // A piece of `bytes` that begins `at` bytes into the page (runtime/kv_layout.h). The pieces of one layer
  // and head of all pages lie side by side, so that a sequence whose pages were taken in a row is read in a
  // row.
  unsigned char* piece(int32_t page, int64_t at, int64_t bytes) noexcept {
    return memory_.data() + at * pages() + page * bytes;
  }
  void copy(int32_t from, int32_t to) noexcept;

  // A set of open pages. Throws Error when more sequences want one than the pool was made for.
  int32_t take_open_set();
  void release_open_set(int32_t set) noexcept { free_sets_.push_back(set); }
  unsigned char* open_page(int32_t set, int64_t index) noexcept {
    return open_memory_.data() + (set * kOpenPages + index) * layout_.open_page_bytes;
  }

  // visit(at, bytes) for every piece of a page, in order.
  template <class Visit>
  void each_piece(const Visit& visit) const {
    for (const KvLayout::Layer& layer : layout_.layers)
      for (const KvLayout::Side* side : {&layer.keys, &layer.values})
        for (int64_t head = 0; head < layer.heads; ++head)
          visit(side->at + head * side->panels.bytes(), side->panels.bytes());
  }

 private:
  KvLayout layout_;
  int64_t sequences_ = 0;
  std::vector<int32_t> owners_;            // of each page, how many
  std::vector<int32_t> free_, free_sets_;  // taken from the back
  AlignedBuffer<unsigned char> memory_, open_memory_;
};

}  // namespace edgeq
