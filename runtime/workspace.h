// SPDX-License-Identifier: Apache-2.0
// Everything that a forward pass writes besides the KV cache, allocated once: nothing is allocated per token.
#pragma once

#include <cstdint>
#include <vector>

#include "models/config.h"
#include "runtime/activation.h"
#include "runtime/aligned_buffer.h"
#include "runtime/reach.h"

namespace edgeq {

// Rows of floats, one per token, each starting on 64 bytes: threads that write different panels of a row
// never share a cache line.
struct Rows {
  Rows() = default;
  Rows(int64_t count, int64_t width) : stride(round_up(width, 16)), floats(count * stride) {}
  float* row(int64_t i) noexcept { return floats.data() + i * stride; }
  int64_t stride = 0;
  AlignedBuffer<float> floats;
};

// What a thread has to itself.
struct ThreadSpace {
  // score_positions: of a query, at most.
  ThreadSpace(const ModelConfig& config, int64_t score_positions, int64_t max_cols);

  ActivationBuffer input;           // of one token: for stages whose preparation every thread repeats
  AlignedBuffer<float> panel;       // a decoded panel
  AlignedBuffer<float> queries;     // rotated, of one KV head and a tile of tokens
  AlignedBuffer<float> key;         // one rotated key
  AlignedBuffer<float> scores;      // [queries, positions]
  AlignedBuffer<float> decoded;     // keys or values of one KV head in one page
  AlignedBuffer<float> mixed;       // values mixed by the scores [queries, head_dim]
  AlignedBuffer<float> mixed_page;  // the same of one page

  // Attention works on tiles of at most this many tokens, fewer when the sequence is long: the scores of a
  // tile stay near kScoreFloats, which a second-level cache holds.
  static constexpr int64_t kTileTokens = 16;
  static constexpr int64_t kScoreFloats = 1 << 16;
};

struct Workspace {
  Workspace(const ModelConfig& config, const Reach& reach, int64_t max_tokens, int threads);

  ActivationBuffer input;                    // what the current stage reads
  Rows hidden;                               // the residual stream
  Rows q, k, v, attended, gate, up, output;  // of one layer
  Rows scores;                               // of a single token: one row per head
  std::vector<ThreadSpace> threads;
};

}  // namespace edgeq
