// SPDX-License-Identifier: Apache-2.0
// Text out of a model, token by token: the one loop behind `edgeq run` and the sentence in a report.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "models/language_model.h"
#include "models/tokenizer.h"
#include "runtime/sampler.h"
#include "runtime/speculation.h"

namespace edgeq {

struct GenerateOptions {
  int64_t tokens = 128;  // made at most
  SamplerOptions sampler = {};
  Drafter* drafter = nullptr;  // speculates, where the sampler is greedy
  // Told how many tokens there are, after the prompt and after each new one.
  std::function<void(int64_t)> on_length = [](int64_t) {};
};

struct Generation {
  int64_t tokens = 0;         // made; an end token is not counted and not handed on
  int64_t prompt_tokens = 0;  // that were fed
  double prefill_seconds = 0, decode_seconds = 0;
  std::optional<SpeculationStats> speculation = std::nullopt;
};

// Feeds the prompt, of which the session may have some first tokens, but not the last one, then calls
// `on_prompt` once and `on_token` for each new token, up to options.tokens of them or until the model ends.
// The session is left with the prompt and some or all of the new tokens. Throws Error for a session without
// room, or for a drafter with sampling; Interrupted.
Generation generate(Session& session, const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                    const GenerateOptions& options, const std::function<void()>& on_prompt,
                    const std::function<void(TokenId)>& on_token);

}  // namespace edgeq
