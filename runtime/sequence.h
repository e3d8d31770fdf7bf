// SPDX-License-Identifier: Apache-2.0
// The tokens of one sequence and how many of them are in its KV cache: what a chunk of the forward pass is
// cut from.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "models/language_model.h"
#include "runtime/kv_cache.h"
#include "runtime/transformer.h"

namespace edgeq {

class Sequence {
 public:
  // Room for max_tokens.
  Sequence(std::shared_ptr<KvPool> pool, int64_t max_tokens);

  int64_t length() const { return std::ssize(tokens_); }
  // Tokens in the cache: fewer than there are before they are fed, and after a truncation into a page of
  // codes.
  int64_t cached() const { return cached_; }
  int64_t max_tokens() const { return cache_.max_tokens(); }
  std::span<const TokenId> tokens() const { return tokens_; }
  const KvCache& cache() const { return cache_; }

  void append(std::span<const TokenId> tokens) {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }
  void truncate(int64_t tokens) noexcept;
  // Empty again, for a sequence of at most `max_tokens`, which is no more than this was made for.
  void restart(int64_t max_tokens) noexcept;
  // For an empty cache: owns what `other` has in its cache of the first `tokens` tokens, which both have.
  void adopt(const Sequence& other, int64_t tokens) noexcept;

  // The tokens that are in the cache, and back: becomes the first `tokens` of a state. Throws Error for a
  // state of another size, or without room.
  SessionState save() const;
  void restore(const SessionState& state, int64_t tokens);

  // The next tokens that are not in the cache, up to `end` and at most `most` of them, with the logits of
  // those from position first_logits on. Takes pages for them; throws Error, and changes nothing, when there
  // are too few. They count as cached when the chunk has been forwarded and done() is told.
  Chunk next_chunk(int64_t end, int64_t most, int64_t first_logits);
  int64_t next_chunk_end(int64_t end, int64_t most) const;
  void done(const Chunk& chunk) {
    cached_ = chunk.first + std::ssize(chunk.tokens);
    cache_.forget(cached_);
  }

 private:
  KvCache cache_;
  std::vector<TokenId> tokens_;
  int64_t cached_ = 0;
};

}  // namespace edgeq
