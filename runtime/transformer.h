// SPDX-License-Identifier: Apache-2.0
// The forward pass of a decoder (models/config.h) over packed weights. Chunks of tokens, each of a sequence
// of its own, go through all layers together in one run of the thread pool, and read each weight once; in a
// Llama a single token meets six barriers per layer, since whatever is cheaper to repeat than to wait for is
// repeated by every thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "models/token.h"
#include "runtime/kv_cache.h"
#include "runtime/model_weights.h"
#include "runtime/reach.h"
#include "runtime/rope_table.h"
#include "runtime/runtime.h"
#include "runtime/thread_pool.h"
#include "runtime/workspace.h"

namespace edgeq {

// Tokens to append to a sequence.
struct Chunk {
  std::span<const TokenId> tokens;  // at least one, inside the vocabulary
  int64_t first = 0;                // position of the first
  KvCache* cache = nullptr;         // extended by these tokens
  int64_t logit_rows = 0;           // logits are wanted of the last so many tokens
};

// What the rows of all chunks are, in the order of the chunks.
struct ChunkRows {
  static constexpr int64_t kMost = 64;
  std::array<TokenId, kMost> tokens;
  std::array<int64_t, kMost> positions, with_logits;  // with_logits: rows whose logits are wanted
  int64_t count = 0, logits = 0;
};

class Transformer {
 public:
  // Throws Error for a reach that is not the model's to have.
  Transformer(ModelWeights weights, const KernelTable& kernels, Activations activations, const Reach& reach,
              int threads);

  // More tokens reuse each weight more often, and more activations fall out of the cache meanwhile.
  static constexpr int64_t kMaxRows = ChunkRows::kMost;
  static_assert(kMaxRows <= KvCache::kPage * KvCache::kOpenPages);

  const ModelWeights& weights() const { return weights_; }
  const ModelConfig& config() const { return weights_.config; }
  const Reach& reach() const { return reach_; }
  KvLayout kv_layout(const KvScheme& kv) const { return {config(), kv, reach_}; }
  int64_t longest_sequence() const { return edgeq::longest_sequence(config(), reach_); }
  int threads() const { return pool_.size(); }
  int64_t logits_stride() const;
  // Sequences of different kinds rotate their keys differently and cannot share pages: 1 for those that have
  // room for more than the original context of a model that has one, and see as much.
  size_t rope_kind(int64_t room) const {
    const int64_t seen = reach_.limited() ? std::min(room, reach_.tokens()) : room;
    return seen > config().original_context ? 1 : 0;
  }

  // At most kMaxRows tokens in all; logits: [sum of logit_rows, logits_stride()]. A token's logits do not
  // depend on the chunk it came in, on other chunks, nor on the threads. One call at a time: others wait.
  void forward(std::span<const Chunk> chunks, float* logits);

 private:
  friend class ForwardPass;
  void place_rows(std::span<const Chunk> chunks);
  // Of a layer, in a sequence that has room for `room` tokens.
  const RopeTable& rope(int64_t layer, int64_t room) const {
    return ropes_[layer_ropes_[size_t(layer)][rope_kind(room)]];
  }

  ModelWeights weights_;
  const KernelTable& kernels_;
  Activations activations_;
  Reach reach_;
  std::mutex mutex_;
  std::vector<RopeTable> ropes_;  // one for each Rope that the layers have
  // Of each layer: its rope up to the original context, and beyond it.
  std::vector<std::array<size_t, 2>> layer_ropes_;
  ThreadPool pool_;
  Workspace space_;
  ChunkRows rows_;  // of the call in progress
};

}  // namespace edgeq
