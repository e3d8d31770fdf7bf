// SPDX-License-Identifier: Apache-2.0
// Fewer tokens. What stays is closed: with a token stay the two that merge into it, by every merge that makes
// it, and so on down to characters. A text whose tokens all stay is then cut into the same tokens as before:
// merging takes the best pair there is, step by step; each step that the whole vocabulary takes is still
// there, and no other is new. Any other text is cut into smaller tokens: characters, byte tokens and added
// tokens always stay.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "models/tokenizer_data.h"

namespace edgeq {

// How many tokens go.
struct VocabularyCut {
  double share = 0;  // of the rows of the embedding, the least frequent in the text; 0: those not in it
};
// "unused", or a share in (0, 1). Throws Error.
VocabularyCut parse_vocabulary_cut(std::string_view text);

// Tokens that stay, ascending: the token kept[i] becomes i. rows: of the embedding, of which padding goes
// first. counts: of each token in a text; [tokens]. Ties stay by their ids. Throws Error for a vocabulary
// whose tokens are not made by merges (SentencePiece), and for a share that what has to stay does not fit in.
std::vector<TokenId> tokens_to_keep(const TokenizerData& data, int64_t rows, std::span<const int64_t> counts,
                                    const VocabularyCut& cut);

// The tokenizer of those tokens, closed as above.
TokenizerData trim_tokenizer(const TokenizerData& data, std::span<const TokenId> kept);

}  // namespace edgeq
