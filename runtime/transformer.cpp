// SPDX-License-Identifier: Apache-2.0
#include "runtime/transformer.h"

#include <algorithm>

#include "core/error.h"
#include "formats/panels.h"
#include "runtime/forward_pass.h"

namespace edgeq {

namespace {

const Reach& checked(const Reach& reach, const ModelConfig& config) {
  check_reach(reach, config);
  return reach;
}

}  // namespace

Transformer::Transformer(ModelWeights weights, const KernelTable& kernels, Activations activations,
                         const Reach& reach, int threads)
    : weights_(std::move(weights)),
      kernels_(kernels),
      activations_(activations),
      reach_(checked(reach, weights_.config)),
      pool_(threads),
      space_(weights_.config, reach_, kMaxRows, pool_.size()) {
  const int64_t positions = reach_.limited() ? reach_.tokens() : config().context;
  const auto table_of = [&](const Rope& rope) {
    const auto found = std::ranges::find(ropes_, rope, &RopeTable::rope);
    const auto index = size_t(found - ropes_.begin());
    if (found == ropes_.end()) ropes_.emplace_back(rope, config().context, positions, kMaxRows);
    return index;
  };
  for (const LayerShape& shape : config().layers) {
    const int64_t original = config().original_context;
    layer_ropes_.push_back(
        {table_of(rope_of(config(), shape, original)), table_of(rope_of(config(), shape, original + 1))});
  }
}

int64_t Transformer::logits_stride() const { return round_up(config().vocab, kPanelRows); }

void Transformer::place_rows(std::span<const Chunk> chunks) {
  rows_.count = rows_.logits = 0;
  for (const Chunk& chunk : chunks) {
    const int64_t size = std::ssize(chunk.tokens), end = chunk.first + size;
    EDGEQ_CHECK(size > 0 && rows_.count + size <= kMaxRows, "chunks are not too long");
    EDGEQ_CHECK(end <= std::min(chunk.cache->max_tokens(), KvCache::chunk_limit(chunk.first)),
                "a chunk fits the cache");
    for (int64_t t = 0; t < size; ++t, ++rows_.count) {
      rows_.tokens[size_t(rows_.count)] = chunk.tokens[size_t(t)];
      rows_.positions[size_t(rows_.count)] = chunk.first + t;
      for (RopeTable& rope : ropes_) rope.prepare(chunk.first + t, rows_.count);
      if (t >= size - chunk.logit_rows) rows_.with_logits[size_t(rows_.logits++)] = rows_.count;
    }
  }
}

void Transformer::forward(std::span<const Chunk> chunks, float* logits) {
  const std::lock_guard lock(mutex_);
  place_rows(chunks);
  pool_.run(
      [&](int thread, int threads) noexcept { ForwardPass(*this, chunks, logits, thread, threads).run(); });
}

}  // namespace edgeq
