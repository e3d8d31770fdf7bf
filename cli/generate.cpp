// SPDX-License-Identifier: Apache-2.0
#include "cli/generate.h"

#include <algorithm>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/timer.h"

namespace edgeq {

Generation generate(Session& session, const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                    const GenerateOptions& options, const std::function<void()>& on_prompt,
                    const std::function<void(TokenId)>& on_token) {
  Sampler sampler(options.sampler);
  std::optional<Speculation> speculation;
  if (options.drafter != nullptr) {
    if (options.sampler.temperature != 0)
      throw Error("speculation with sampling; expected greedy decoding").set_hint("add --greedy");
    speculation.emplace(session, *options.drafter);
  }
  const auto ends = [&](TokenId token) {
    return std::ranges::find(tokenizer.end_tokens(), token) != tokenizer.end_tokens().end();
  };
  Generation made{.prompt_tokens = std::ssize(prompt) - session.length()};
  const Timer prefill;
  const MatrixView<const float> logits = session.feed(prompt.subspan(size_t(session.length())), Logits::last);
  std::vector<TokenId> text(prompt.begin(), prompt.end());
  TokenId first = sampler.next({logits.data, size_t(logits.cols)});
  made.prefill_seconds = prefill.seconds();
  on_prompt();
  options.on_length(std::ssize(prompt));
  const Timer decode;
  std::span<const TokenId> next(&first, 1);
  const auto accept = [&] {  // false: nothing comes after these
    for (const TokenId token : next) {
      if (ends(token)) return false;
      on_token(token);
      text.push_back(token);
      options.on_length(std::ssize(text));
      if (++made.tokens == options.tokens) return false;
    }
    return true;
  };
  while (accept()) {
    check_interrupt();
    if (speculation) {
      next = speculation->next(text, options.tokens - made.tokens);
    } else {
      const MatrixView<const float> row = session.feed({&text.back(), 1}, Logits::last);
      first = sampler.next({row.data, size_t(row.cols)});
    }
  }
  // Of what was checked at once, what comes after the end is not the text's.
  session.truncate(std::min(session.length(), std::ssize(text)));
  made.decode_seconds = decode.seconds();
  if (speculation) made.speculation = speculation->stats();
  return made;
}

}  // namespace edgeq
