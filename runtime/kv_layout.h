// SPDX-License-Identifier: Apache-2.0
// What is in a page of the KV cache: keys and values of all layers and KV heads for kPage positions, with the
// scales of its codes, in pieces [layer][keys, values][KV head], each a multiple of 64 bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "models/config.h"
#include "models/kv_scheme.h"
#include "runtime/kv_panels.h"
#include "runtime/reach.h"

namespace edgeq {

struct KvLayout {
  // Positions, a multiple of 16 and of a key's group. What a sequence leaves empty of its last page is lost:
  // of sequences of L tokens about kPage / (2 L), which docs/figures.md measures.
  static constexpr int64_t kPage = 32;

  KvLayout(const ModelConfig& config, const KvScheme& scheme, const Reach& reach = {});

  // Keys or values of a layer.
  struct Side {
    KvPanels panels, open_panels;  // of one head, in a page and in an open page
    int64_t at, open_at;           // where the piece of head 0 begins
  };
  struct Layer {
    int64_t head_dim;
    int64_t heads;
    Side keys, values;
  };

  // A token's share of a page, padding included. Open pages come on top, once.
  int64_t bytes_per_token() const { return (page_bytes + kPage - 1) / kPage; }
  bool has_codes() const { return open_page_bytes > 0; }
  static int64_t pages_of(int64_t tokens) { return (tokens + kPage - 1) / kPage; }

  // Pages that a sequence of `tokens` holds, at most: with a window, what is behind it is given back, but for
  // the sinks, after it has been moved on by the rows of a whole forward pass.
  int64_t most_pages(int64_t tokens) const {
    if (!reach.limited()) return pages_of(tokens);
    return std::min(pages_of(tokens), pages_of(reach.sinks) + pages_of(reach.window) + 4);
  }

  std::vector<Layer> layers;
  Reach reach;                                  // what a token sees in any layer
  int64_t page_bytes = 0, open_page_bytes = 0;  // the latter 0 when nothing is kept as codes

 private:
  Side place(const KvPanels& panels, const KvPanels& open_panels, int64_t heads);
};

}  // namespace edgeq
