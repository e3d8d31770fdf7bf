// SPDX-License-Identifier: Apache-2.0
// Keys and values of one sequence in pages of kPage positions. A page is self-contained: keys and values of
// all layers and KV heads in one piece of memory, with the scales of its codes. All room is reserved at the
// start; the system hands it out as the sequence grows.
//
// The scales of a key's page depend on all of its positions. So that a token's logits depend on nothing but
// the tokens before it, a token sees whole earlier pages as their codes and its own page as floats, in
// prefill and decode alike. What is kept as codes is therefore first written as f32 to an "open" page, which
// stays until the sequence has moved two pages on. What is kept as f32 or f16 is the same to every token and
// needs no open pages.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "models/config.h"
#include "models/kv_scheme.h"
#include "runtime/aligned_buffer.h"
#include "runtime/kv_panels.h"

namespace edgeq {

// Where everything lies in a page: [layer][keys, values][KV head], each on a multiple of 64 bytes.
struct KvLayout {
  static constexpr int64_t kPage = 64;  // positions, a multiple of 16

  KvLayout(const ModelConfig& config, const KvScheme& scheme);

  // Keys or values of a layer.
  struct Side {
    KvPanels panels, open_panels;  // of one head, in a page and in an open page
    int64_t at, open_at;           // where head 0 begins
  };
  struct Layer {
    int64_t head_dim;
    Side keys, values;
  };

  // A token's share of a page, padding included. Open pages come on top, once.
  int64_t bytes_per_token() const { return (page_bytes + kPage - 1) / kPage; }

  std::vector<Layer> layers;
  int64_t page_bytes = 0, open_page_bytes = 0;  // the latter 0 when nothing is kept as codes

 private:
  Side place(const KvPanels& panels, const KvPanels& open_panels, int64_t heads);
};

class KvCache {
 public:
  static constexpr int64_t kPage = KvLayout::kPage;

  KvCache(const ModelConfig& config, const KvScheme& scheme, int64_t max_tokens);

  int64_t max_tokens() const { return max_tokens_; }
  bool has_codes() const { return layout_.open_page_bytes > 0; }

  // Announces that positions [first, end), at most kPage, are written next. All before are intact.
  void extend(int64_t first, int64_t end) noexcept;
  // How many of the first `tokens` positions are as if nothing after them had been written: all, or those
  // before their last page.
  int64_t intact(int64_t tokens) const noexcept;

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
  static constexpr int64_t kOpenPages = 2;

  // Where it begins, in pages_ and in open_pages_.
  int64_t stored_at(const Side& side, const Place& place) const noexcept;
  int64_t open_at(const Side& side, const Place& place) const noexcept;
  void write(const Side& side, const Place& place, int64_t row, int64_t col, float value) noexcept;
  void encode(const Side& side, const Place& place) noexcept;
  KernelFloatWeight view(const KernelTable& kernels, const Side& side, const Place& place, Page seen,
                         PanelRange range, float* scratch) const noexcept;

  KvLayout layout_;
  int64_t max_tokens_ = 0;
  std::array<int64_t, kOpenPages> open_;  // which page each open one is
  AlignedBuffer<unsigned char> pages_, open_pages_;
};

}  // namespace edgeq
