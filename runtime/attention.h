// SPDX-License-Identifier: Apache-2.0
// Causal grouped-query attention of one layer over the KV cache:
//   attended[t, h] = sum over p of softmax_p(cap(scale * q[t, h] . k[p, h / group])) v[p, h / group],
// cap(s) = soft_cap * tanh(s / soft_cap) where the model has one, p over what t sees (runtime/reach.h). The
// query heads of one KV head are computed together, so that keys and values are read once for all of them.
//
// A token's result does not depend on the tokens it came with, nor on the threads: each score is one sum over
// the dimensions, the softmax is over exactly the token's positions, and values are added in ascending
// position within a page of the cache, then page by page, sinks first; a position that only other tokens of a
// tile see enters with the weight 0. What a token sees of a page is said in runtime/kv_cache.h.
#pragma once

#include <cstdint>
#include <span>

#include "models/config.h"
#include "runtime/kernels/kernel_table.h"
#include "runtime/kv_cache.h"
#include "runtime/reach.h"
#include "runtime/rope_table.h"
#include "runtime/workspace.h"

namespace edgeq {

struct AttentionInput {
  const KernelTable& kernels;
  const LayerShape& shape;
  Reach reach;                            // of this layer
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

  // Scores of a query, at most, in a model with this context and reach; a multiple of a page.
  static int64_t most_scores(int64_t context, const Reach& reach);

 private:
  int64_t group() const { return in_.shape.heads / in_.shape.kv_heads; }
  int64_t head_stride() const { return round_up(in_.shape.head_dim, 16); }
  // What a token, or the tokens of a tile, see. Scores are those of the sinks' pages, where the sinks are
  // apart, and then those of the pages from `origin` on.
  struct Seen {
    int64_t sinks = 0;      // that lie before the window, apart from it
    int64_t start, end;     // of the window, or of all that is seen
    int64_t origin;         // the first position of the page of `start`
    int64_t window_at = 0;  // where the scores from `origin` on begin
    int64_t at(int64_t position) const { return window_at + position - origin; }
    int64_t scores() const { return at(end); }
  };
  Seen seen_by(int64_t position, int64_t end) const;
  // A page to tokens whose own page is the one of the last token computed here.
  KvCache::Page page_seen(int64_t page, int64_t own_page) const {
    return page == own_page ? KvCache::Page::own : KvCache::Page::earlier;
  }
  // Scores of own_.queries against panels of 16 positions, numbered from position 0; scores begin at
  // `origin`, which is a page's first position.
  void score_panels(int64_t kv_head, int64_t own_page, int64_t queries, PanelRange panels, int64_t origin,
                    float* scores, int64_t stride) noexcept;
  // own_.mixed = the values of what is seen times their weights; only panels `dims` of 16 dimensions.
  void mix_seen(int64_t kv_head, int64_t own_page, int64_t queries, const Seen& seen, const float* weights,
                int64_t stride, PanelRange dims) noexcept;
  // The same of positions [start, end), added; the weights begin with that of the page of `start`.
  void mix_panels(int64_t kv_head, int64_t own_page, int64_t queries, int64_t start, int64_t end,
                  const float* weights, int64_t stride, PanelRange dims) noexcept;
  // Scores of `count` positions become weights, in place.
  void weigh(float* scores, int64_t count) const noexcept;
  // A token's row of scores, laid out as `tile` says, becomes its weights, 0 for what it does not see.
  void weigh_row(float* row, int64_t position, const Seen& tile) const noexcept;
  void store_token(int64_t token, int64_t kv_head) noexcept;
  void load_queries(int64_t token, int64_t kv_head, const RopeTable::Turn& turn, float* out) noexcept;
  RopeTable::Turn turn_of(int64_t token) const noexcept {
    return in_.rope.at(in_.first + token, in_.row + token);
  }
  // As a query at the last position of the reach: how one beyond it sees the sinks.
  RopeTable::Turn sink_turn() const noexcept { return in_.rope.at(in_.reach.tokens() - 1, 0); }
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
