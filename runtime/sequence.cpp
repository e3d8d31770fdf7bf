// SPDX-License-Identifier: Apache-2.0
#include "runtime/sequence.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace edgeq {

Sequence::Sequence(std::shared_ptr<KvPool> pool, int64_t max_tokens) : cache_(std::move(pool), max_tokens) {
  tokens_.reserve(size_t(max_tokens));
}

void Sequence::truncate(int64_t tokens) noexcept {
  tokens_.resize(size_t(tokens));
  cached_ = std::min(cached_, cache_.intact(tokens));
  cache_.truncate(cached_);
}

void Sequence::restart(int64_t max_tokens) noexcept {
  tokens_.clear();
  cached_ = 0;
  cache_.restart(max_tokens);
}

void Sequence::adopt(const Sequence& other, int64_t tokens) noexcept {
  cached_ = cache_.adopt(other.cache_, std::min(tokens, other.cached_));
}

SessionState Sequence::save() const {
  if (!cache_.whole())
    throw Error(
        fmt::format("a sequence of {} tokens has given back what is behind its window; expected all of it",
                    cached_))
        .set_hint("a prompt that the window covers can be kept; a longer one runs without --prompt-cache");
  SessionState state{.tokens = {tokens_.begin(), tokens_.begin() + cached_},
                     .keys_values = std::vector<std::byte>(size_t(cache_.bytes_of(cached_)))};
  cache_.save(cached_, state.keys_values.data());
  return state;
}

void Sequence::restore(const SessionState& state, int64_t tokens) {
  const int64_t all = std::ssize(state.tokens);
  check_truncation(tokens, all);
  check_room(0, tokens, max_tokens());
  if (std::ssize(state.keys_values) != cache_.bytes_of(all))
    throw Error(fmt::format("{} bytes of keys and values of {} tokens; expected {}", state.keys_values.size(),
                            all, cache_.bytes_of(all)));
  restart(max_tokens());
  // Pages come first, so fewer tokens are a beginning of the bytes; the floats of codes are of the last page.
  const int64_t kept =
      tokens == all || !cache_.has_codes() ? tokens : tokens / KvCache::kPage * KvCache::kPage;
  cache_.restore(kept, state.keys_values.data());
  append(std::span(state.tokens).first(size_t(tokens)));
  cached_ = kept;
}

int64_t Sequence::next_chunk_end(int64_t end, int64_t most) const {
  return std::min({end, cached_ + most, KvCache::chunk_limit(cached_)});
}

Chunk Sequence::next_chunk(int64_t end, int64_t most, int64_t first_logits) {
  const int64_t chunk_end = next_chunk_end(end, most), size = chunk_end - cached_;
  cache_.extend(cached_, chunk_end);
  return {.tokens = std::span(tokens_).subspan(size_t(cached_), size_t(size)),
          .first = cached_,
          .cache = &cache_,
          .logit_rows = std::clamp<int64_t>(chunk_end - first_logits, 0, size)};
}

}  // namespace edgeq
