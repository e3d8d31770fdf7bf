// SPDX-License-Identifier: Apache-2.0
#include "cli/chat.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "core/error.h"
#include "models/prompt.h"

namespace edgeq {

int64_t keep_common(Session& session, std::span<const TokenId> held, std::span<const TokenId> prompt) {
  const auto same = std::ranges::mismatch(held, prompt).in1 - held.begin();
  const int64_t kept = std::min<int64_t>({same, session.length(), std::ssize(prompt) - 1});
  session.truncate(kept);
  return kept;
}

void chat(const OpenModel& open, Session& session, int64_t max_tokens, const ChatOptions& options) {
  std::vector<ChatMessage> messages;
  const auto reset = [&] {
    messages.clear();
    if (!options.system.empty()) messages.push_back({"system", options.system});
  };
  reset();
  const bool prompts = isatty(STDIN_FILENO) != 0;
  std::vector<TokenId> held;  // what the session has, at least
  std::string line;
  while (true) {
    if (prompts) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, line) || line == "/quit") return;
    if (line == "/reset") {
      reset();
      continue;
    }
    if (line.empty()) continue;
    messages.push_back({"user", line});
    const std::vector<TokenId> prompt = chat_tokens(open.tokenizer, messages);
    if (std::ssize(prompt) >= max_tokens)
      throw Error(
          fmt::format("a conversation of {} tokens; the model's context is {}", prompt.size(), max_tokens))
          .set_hint("/reset begins a new one");
    keep_common(session, held, prompt);
    GenerateOptions turn = options.generate;
    turn.tokens = std::min(turn.tokens, max_tokens - std::ssize(prompt));
    std::vector<TokenId> answer;
    const Generation made = generate(
        session, open.tokenizer, prompt, turn, [] {},
        [&](TokenId token) {
          answer.push_back(token);
          const std::string piece = open.tokenizer.piece(token);
          std::fwrite(piece.data(), 1, piece.size(), stdout);
          std::fflush(stdout);
        });
    std::fputc('\n', stdout);
    std::fflush(stdout);
    options.on_answer(made);
    held = prompt;
    held.insert(held.end(), answer.begin(), answer.end());
    messages.push_back({"assistant", open.tokenizer.decode(answer)});
  }
}

}  // namespace edgeq
