// SPDX-License-Identifier: Apache-2.0
// Causal grouped-query attention of one layer over the KV cache:
//   attended[t, h] = sum over p of softmax_p(cap(scale * q[t, h] . k[p, h / group])) v[p, h / group],
// cap(s) = soft_cap * tanh(s / soft_cap) where the model has one, p from the start of the window (or 0) to t
// itself. The query heads of one KV head are computed together, so that keys and values are read once for all
// of them.
//
// A token's result does not depend on the tokens it came with, nor on the threads: each score is one sum over
// the dimensions, the softmax is over exactly the token's positions, and values are added in ascending
// position; a position that only other tokens of a tile see enters with the weight 0.
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
  int64_t layer, first, tokens;  // the tokens' positions begin at `first`
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

  // Many tokens: first store, then attend.
  void store() noexcept;
  void attend() noexcept;
  // One token: first score (which also stores), then mix. Positions, then dimensions are shared out, so that
  // all threads work however few heads there are.
  void score() noexcept;
  void mix() noexcept;

 private:
  int64_t group() const { return in_.shape.heads / in_.shape.kv_heads; }
  int64_t head_stride() const { return round_up(in_.shape.head_dim, 16); }
  int64_t window_start(int64_t position) const;
  int64_t window_origin(int64_t position) const;  // where the panel with the window's start begins
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
