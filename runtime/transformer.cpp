// SPDX-License-Identifier: Apache-2.0
#include "runtime/transformer.h"

#include <algorithm>

#include "core/error.h"
#include "formats/panels.h"
#include "runtime/forward_pass.h"

namespace edgeq {

Transformer::Transformer(ModelWeights weights, const KernelTable& kernels, Activations activations,
                         int threads)
    : weights_(std::move(weights)),
      kernels_(kernels),
      activations_(activations),
      pool_(threads),
      space_(weights_.config, kMaxChunk, pool_.size()) {
  const auto table_of = [this](const Rope& rope) {
    const auto found = std::ranges::find(ropes_, rope, &RopeTable::rope);
    const auto index = size_t(found - ropes_.begin());
    if (found == ropes_.end()) ropes_.emplace_back(rope, config().context);
    return index;
  };
  for (const LayerShape& shape : config().layers) {
    const int64_t original = config().original_context;
    layer_ropes_.push_back(
        {table_of(rope_of(config(), shape, original)), table_of(rope_of(config(), shape, original + 1))});
  }
}

int64_t Transformer::logits_stride() const { return round_up(config().vocab, kPanelRows); }

void Transformer::forward(const Chunk& chunk) {
  const int64_t end = chunk.first + std::ssize(chunk.tokens);
  EDGEQ_CHECK(!chunk.tokens.empty() && std::ssize(chunk.tokens) <= kMaxChunk, "a chunk is not too long");
  EDGEQ_CHECK(end <= chunk.cache->max_tokens(), "a chunk fits the cache");
  const std::lock_guard lock(mutex_);
  for (RopeTable& rope : ropes_) rope.extend(end);
  chunk.cache->extend(chunk.first, end);
  pool_.run([&](int thread, int threads) noexcept { ForwardPass(*this, chunk, thread, threads).run(); });
}

}  // namespace edgeq
