// SPDX-License-Identifier: Apache-2.0
#include "models/language_model.h"

#include <fmt/format.h>

#include "core/error.h"

namespace edgeq {

SessionState Session::save() const {
  throw Error("this engine does not save keys and values; expected the packed runtime");
}

void Session::restore(const SessionState&, int64_t) {
  throw Error("this engine does not restore keys and values; expected the packed runtime");
}

std::unique_ptr<Batch> LanguageModel::start_batch(const BatchOptions&) const {
  throw Error("this engine runs one sequence at a time; expected the packed runtime");
}

void check_tokens(std::span<const TokenId> tokens, const ModelConfig& config) {
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= config.vocab)
      throw Error(
          fmt::format("token {} at position {} is outside the vocabulary of {}", tokens[i], i, config.vocab));
}

void check_room(int64_t length, int64_t more, int64_t max_tokens) {
  if (more > max_tokens - length)
    throw Error(fmt::format("{} tokens after {} do not fit a cache of {}", more, length, max_tokens));
}

void check_truncation(int64_t tokens, int64_t length) {
  if (tokens < 0 || tokens > length)
    throw Error(fmt::format("cannot truncate a sequence of {} tokens to {}", length, tokens));
}

}  // namespace edgeq
