// SPDX-License-Identifier: Apache-2.0
// Guesses of the tokens that come next, which a model then checks all at once (runtime/speculation.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/language_model.h"

namespace edgeq {

class Drafter {
 public:
  virtual ~Drafter() = default;
  // Up to `most` tokens that may follow `text`, which continues what it was given before or a beginning of
  // it; none where it has no guess. Valid until the next call.
  virtual std::span<const TokenId> propose(std::span<const TokenId> text, int64_t most) = 0;
};

// What followed the last tokens of the text when they came before: the latest place where the last
// kLookupMost, else fewer, down to kLookupLeast, tokens stand (Saxena, "Prompt lookup decoding", 2023).
constexpr int64_t kLookupMost = 3, kLookupLeast = 2;
std::unique_ptr<Drafter> make_prompt_lookup();

// The greedy continuation by a smaller model with the same tokens (Leviathan et al., arXiv 2211.17192), which
// outlives the drafter. max_tokens: of a text, at most. Throws Error when its context has less room.
std::unique_ptr<Drafter> make_model_drafter(const LanguageModel& model, int64_t max_tokens);

}  // namespace edgeq
