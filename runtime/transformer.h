// SPDX-License-Identifier: Apache-2.0
// The forward pass of a decoder (models/config.h) over packed weights. One chunk of tokens goes through all
// layers in one run of the thread pool; in a Llama a single token meets six barriers per layer, since
// whatever is cheaper to repeat than to wait for is repeated by every thread.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "models/token.h"
#include "runtime/kv_cache.h"
#include "runtime/model_weights.h"
#include "runtime/rope_table.h"
#include "runtime/runtime.h"
#include "runtime/thread_pool.h"
#include "runtime/workspace.h"

namespace edgeq {

// Tokens to append to a sequence, and where their logits go.
struct Chunk {
  std::span<const TokenId> tokens;  // 1 .. Transformer::kMaxChunk, inside the vocabulary
  int64_t first = 0;                // position of the first; the cache has room for all
  KvCache* cache = nullptr;
  int64_t logit_rows = 0;   // of the last so many tokens
  float* logits = nullptr;  // [logit_rows, logits_stride()]
};

class Transformer {
 public:
  Transformer(ModelWeights weights, const KernelTable& kernels, Activations activations, int threads);

  // More tokens reuse each weight more often, and more activations fall out of the cache meanwhile.
  // At most a page of the cache: a chunk meets two at the most.
  static constexpr int64_t kMaxChunk = 64;
  static_assert(kMaxChunk <= KvCache::kPage);

  const ModelWeights& weights() const { return weights_; }
  const ModelConfig& config() const { return weights_.config; }
  int threads() const { return pool_.size(); }
  int64_t logits_stride() const;

  // A token's logits do not depend on the chunk it came in nor on the threads. One call at a time: others
  // wait.
  void forward(const Chunk& chunk);

 private:
  friend class ForwardPass;
  // Of a layer, in a sequence that has room for `room` tokens.
  const RopeTable& rope(int64_t layer, int64_t room) const {
    return ropes_[layer_ropes_[size_t(layer)][room > config().original_context]];
  }

  ModelWeights weights_;
  const KernelTable& kernels_;
  Activations activations_;
  std::mutex mutex_;
  std::vector<RopeTable> ropes_;  // one for each Rope that the layers have
  // Of each layer: its rope up to the original context, and beyond it.
  std::vector<std::array<size_t, 2>> layer_ropes_;
  ThreadPool pool_;
  Workspace space_;
};

}  // namespace edgeq
