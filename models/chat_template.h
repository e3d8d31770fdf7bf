// SPDX-License-Identifier: Apache-2.0
// Renders a checkpoint's chat template. The templates are Jinja programs; this runs the part of Jinja that
// they use for plain conversations, with the whitespace rules of the Python package (trim_blocks,
// lstrip_blocks). What is not understood is refused, so the prompt is exact or there is none.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "models/tokenizer.h"

namespace edgeq {

struct ChatTokens {
  std::string bos, eos;  // their spellings
};

// The prompt with the assistant's turn opened (add_generation_prompt). Throws Error when `source` is empty,
// uses something that is not supported, or raises an error itself (for roles out of order, say).
std::string render_chat(std::string_view source, std::span<const ChatMessage> messages,
                        const ChatTokens& tokens);

}  // namespace edgeq
