// SPDX-License-Identifier: Apache-2.0
#include "models/prompt.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace edgeq {

std::vector<TokenId> with_bos(std::vector<TokenId> tokens, const Tokenizer& tokenizer) {
  const bool has_bos = !tokens.empty() && tokenizer.bos() && tokens.front() == *tokenizer.bos();
  if (tokenizer.adds_bos() && tokenizer.bos() && !has_bos) tokens.insert(tokens.begin(), *tokenizer.bos());
  if (tokens.empty()) throw Error("the prompt is empty and this model begins without a token of its own");
  return tokens;
}

std::vector<TokenId> chat_tokens(const Tokenizer& tokenizer, std::span<const ChatMessage> messages) {
  return with_bos(tokenizer.encode(tokenizer.apply_chat_template(messages), SpecialTokens::parse), tokenizer);
}

std::optional<TokenId> turn_end(const Tokenizer& tokenizer) {
  const std::vector<TokenId>& ends = tokenizer.end_tokens();
  if (ends.empty()) return std::nullopt;
  const std::string answer = "7Q7Q7";
  const std::array<ChatMessage, 2> turn{{{"user", "Question"}, {"assistant", answer}}};
  const std::string text = tokenizer.apply_chat_template(turn);
  const size_t at = text.rfind(answer);
  if (at == std::string::npos) return ends.front();
  const std::vector<TokenId> after = tokenizer.encode(text.substr(at + answer.size()), SpecialTokens::parse);
  const auto end = std::ranges::find_first_of(after, ends);
  return end == after.end() ? ends.front() : *end;
}

}  // namespace edgeq
