// SPDX-License-Identifier: Apache-2.0
#include "cli/generate.h"

#include <algorithm>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/timer.h"

namespace edgeq {

std::vector<TokenId> with_bos(std::vector<TokenId> tokens, const Tokenizer& tokenizer) {
  const bool has_bos = !tokens.empty() && tokenizer.bos() && tokens.front() == *tokenizer.bos();
  if (tokenizer.adds_bos() && tokenizer.bos() && !has_bos) tokens.insert(tokens.begin(), *tokenizer.bos());
  if (tokens.empty()) throw Error("the prompt is empty and this model begins without a token of its own");
  return tokens;
}

Generation generate(const OpenModel& open, std::span<const TokenId> prompt, int64_t tokens,
                    const SamplerOptions& options, const std::function<void()>& on_prompt,
                    const std::function<void(TokenId)>& on_token) {
  Sampler sampler(options);
  const auto session = open.model->start({.max_tokens = int64_t(prompt.size()) + tokens});
  const auto& ends = open.tokenizer.end_tokens();
  Generation made;
  const Timer prefill;
  MatrixView<const float> logits = session->feed(prompt, Logits::last);
  made.prefill_seconds = prefill.seconds();
  on_prompt();
  const Timer decode;
  while (made.tokens < tokens) {
    check_interrupt();
    const TokenId next = sampler.next({logits.data, size_t(logits.cols)});
    if (std::find(ends.begin(), ends.end(), next) != ends.end()) break;
    on_token(next);
    if (++made.tokens == tokens) break;  // its logits are nobody's
    logits = session->feed(std::span(&next, 1), Logits::last);
  }
  made.decode_seconds = decode.seconds();
  return made;
}

}  // namespace edgeq
