// SPDX-License-Identifier: Apache-2.0
// Causal grouped-query attention of one layer over the KV cache:
//   attended[t, h] = sum over p of softmax_p(cap(scale * q[t, h] . k[p, h / group])) v[p, h / group],
// cap(s) = soft_cap * tanh(s / soft_cap) where the model has one, p from the start of the window (or 0) to t
// itself. The query heads of one KV head are computed together, so that keys and values are read once for all
// of them.
//
// A token's result does not depend on the tokens it came with, nor on the threads: each score is one sum over
// the dimensions, the softmax is over exactly the token's positions, and values are added in ascending
// position within a page of the cache, then page by page; a position that only other tokens of a tile see
// enters with the weight 0. What a token sees of a page is said in runtime/kv_cache.h.
#pragma once

#include <cstdint>
#include <span>

#include "models/config.h"
#include "runtime/kernels/kernel_table.h"
#include "runtime/kv_cache.h"
#include "runtime/rope_table.h"
#include "runtime/workspace.h"

namespace edgeq {

struct AttentionInput {
  const KernelTable& kernels;
  const LayerShape& shape;
  std::span<const float> q_norm, k_norm;  // of each head; empty: none
  float epsilon, scale, soft_cap;         // soft_cap 0: none
  const RopeTable& rope;
  int64_t layer, first, tokens;  // the tokens' positions begin at `first`,
  int64_t row;                   // and their rows of the workspace here
};

// One thread's part in the attention of one layer. Between steps the threads meet at a barrier.
class Attention {
 public:
  Attention(const AttentionInput& input, KvCache& cache, Workspace& space, int thread, int threads)
      : in_(input),
        cache_(cache),
        space_(space),
        own_(space.threads[size_t(thread)]),
        thread_(thread),
        threads_(threads) {}

  // Many tokens: store, encode, attend. Encode says whether there were codes to make. unit: counts the tiles
  // of all sequences, so that threads take turns.
  void store() noexcept;
  bool encode() noexcept;
  void attend(int64_t& unit) noexcept;
  // One token of one sequence: score (which also stores), then mix, and encode at any time after score.
  // Positions, then dimensions are shared out, so that all threads work however few heads there are.
  void score() noexcept;
  void mix() noexcept;

 private:
  int64_t group() const { return in_.shape.heads / in_.shape.kv_heads; }
  int64_t head_stride() const { return round_up(in_.shape.head_dim, 16); }
  int64_t window_start(int64_t position) const;
  int64_t window_origin(int64_t position) const;  // where the page with the window's start begins
  // A page to tokens whose own page is the one of the last token computed here.
  KvCache::Page seen(int64_t page, int64_t own_page) const {
    return page == own_page ? KvCache::Page::own : KvCache::Page::earlier;
  }
  // Scores of own_.queries against panels of 16 positions, numbered from position 0; scores begin at
  // `origin`, which is a page's first position.
  void score_panels(int64_t kv_head, int64_t own_page, int64_t queries, PanelRange panels, int64_t origin,
                    float* scores, int64_t stride) noexcept;
  // own_.mixed = values of positions [start, end) times the weights, which begin with that of the page of
  // `start`; only panels `dims` of 16 dimensions.
  void mix_panels(int64_t kv_head, int64_t own_page, int64_t queries, int64_t start, int64_t end,
                  const float* weights, int64_t stride, PanelRange dims) noexcept;
  // Scores of `count` positions become weights, in place.
  void weigh(float* scores, int64_t count) const noexcept;
  void store_token(int64_t token, int64_t kv_head) noexcept;
  void load_queries(int64_t token, int64_t kv_head, float* out) noexcept;
  void attend_tile(int64_t token_begin, int64_t token_end, int64_t kv_head) noexcept;
  // Copies dimensions [begin, end) of the mixed values of one token's group to where the output layer reads.
  void write_attended(int64_t token, int64_t kv_head, const float* mixed, int64_t begin,
                      int64_t end) noexcept;

  const AttentionInput& in_;
  KvCache& cache_;
  Workspace& space_;
  ThreadSpace& own_;
  int thread_, threads_;
};

}  // namespace edgeq
