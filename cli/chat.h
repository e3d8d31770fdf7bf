// SPDX-License-Identifier: Apache-2.0
// A conversation on the terminal: lines from stdin are the user's turns, answers are streamed to stdout. The
// whole history goes through the model's chat template at every turn, and what the session has of it already
// is not computed again. "/reset" begins anew, "/quit" or the end of the input ends it.
#pragma once

#include <functional>
#include <string>

#include "cli/generate.h"
#include "cli/open_model.h"

namespace edgeq {

struct ChatOptions {
  std::string system;  // "": none
  GenerateOptions generate;
  std::function<void(const Generation&)> on_answer = [](const Generation&) {};
};

// Throws Error when the model has no template or the conversation outgrows the session; Interrupted.
void chat(const OpenModel& open, Session& session, int64_t max_tokens, const ChatOptions& options);

// How many of the session's first tokens, which are `held`, a prompt begins with, without its last one: the
// session is cut to them.
int64_t keep_common(Session& session, std::span<const TokenId> held, std::span<const TokenId> prompt);

}  // namespace edgeq
