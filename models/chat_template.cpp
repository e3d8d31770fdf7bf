// SPDX-License-Identifier: Apache-2.0
#include "models/chat_template.h"

#include "core/error.h"
#include "models/jinja_eval.h"

namespace edgeq {
namespace {

// Far above what a template for plain conversations needs; what it stops are hostile ones.
constexpr int64_t kMaxSteps = 2'000'000;

}  // namespace

std::string render_chat(std::string_view source, std::span<const ChatMessage> messages,
                        const ChatTokens& tokens) {
  if (source.empty()) {
    throw Error("the model has no chat template").set_hint("give the prompt as plain text instead");
  }
  return with_context("chat template", [&] {
    jinja::List turns;
    int64_t max_steps = kMaxSteps;
    for (const ChatMessage& message : messages) {
      max_steps += int64_t(message.content.size());
      turns.push_back(jinja::make_dict({{"role", message.role}, {"content", message.content}}));
    }
    // What the Python package defines for a conversation without tools or documents. It also offers today's
    // date; templates that ask for it say what stands there without it, and prompts stay reproducible.
    const jinja::Dict globals = {{"messages", jinja::make_list(std::move(turns))},
                                 {"tools", jinja::None{}},
                                 {"documents", jinja::None{}},
                                 {"add_generation_prompt", true},
                                 {"bos_token", tokens.bos},
                                 {"eos_token", tokens.eos}};
    return jinja::render(jinja::parse(source), globals, max_steps);
  });
}

}  // namespace edgeq
