// SPDX-License-Identifier: Apache-2.0
// What a model is given to continue: the tokens of a text or of a conversation, begun as it expects.
#pragma once

#include <span>
#include <vector>

#include "models/tokenizer.h"

namespace edgeq {

// BOS in front where the model expects it and the tokens do not begin with it. Throws Error when nothing is
// left to begin with.
std::vector<TokenId> with_bos(std::vector<TokenId> tokens, const Tokenizer& tokenizer);

// The tokens of a conversation with the assistant's turn opened. Throws Error where the model has no chat
// template or it refuses the messages.
std::vector<TokenId> chat_tokens(const Tokenizer& tokenizer, std::span<const ChatMessage> messages);

// What the model says after its answer to a conversation: the first token that ends a generation after an
// answer in the rendered conversation, else the first of them. Nothing: it has none.
std::optional<TokenId> turn_end(const Tokenizer& tokenizer);

}  // namespace edgeq
