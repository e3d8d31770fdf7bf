// SPDX-License-Identifier: Apache-2.0
// Text out of a model, token by token: the one loop behind `edgeq run` and the sentence in a report.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "cli/open_model.h"
#include "runtime/sampler.h"

namespace edgeq {

// BOS in front where the model expects it and the tokens do not begin with it. Throws Error when nothing is
// left to begin with.
std::vector<TokenId> with_bos(std::vector<TokenId> tokens, const Tokenizer& tokenizer);

struct Generation {
  int64_t tokens = 0;  // made; an end token is not counted and not handed on
  double prefill_seconds = 0, decode_seconds = 0;
};

// Feeds the prompt, then calls `on_prompt` once and `on_token` for each new token, up to `tokens` of them or
// until the model ends. Throws Interrupted.
Generation generate(const OpenModel& open, std::span<const TokenId> prompt, int64_t tokens,
                    const SamplerOptions& options, const std::function<void()>& on_prompt,
                    const std::function<void(TokenId)>& on_token);

}  // namespace edgeq
