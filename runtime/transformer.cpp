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
  for (const LayerShape& shape : config().layers) {
    const auto same = [&](const RopeTable& table) { return table.half() == shape.head_dim / 2; };
    if (std::ranges::none_of(ropes_, same)) ropes_.emplace_back(config(), shape.head_dim, config().context);
  }
}

int64_t Transformer::logits_stride() const { return round_up(config().vocab, kPanelRows); }

const RopeTable& Transformer::rope(const LayerShape& shape) const {
  return *std::ranges::find_if(ropes_, [&](const RopeTable& t) { return t.half() == shape.head_dim / 2; });
}

void Transformer::forward(const Chunk& chunk) {
  const int64_t end = chunk.first + std::ssize(chunk.tokens);
  EDGEQ_CHECK(!chunk.tokens.empty() && std::ssize(chunk.tokens) <= kMaxChunk, "a chunk is not too long");
  EDGEQ_CHECK(end <= chunk.cache->max_tokens(), "a chunk fits the cache");
  const std::lock_guard lock(mutex_);
  for (RopeTable& rope : ropes_) rope.extend(end);
  pool_.run([&](int thread, int threads) noexcept { ForwardPass(*this, chunk, thread, threads).run(); });
}

}  // namespace edgeq
