// SPDX-License-Identifier: Apache-2.0
// A checkpoint with fewer tokens: of embedding and head the rows of those that stay, and a tokenizer that
// knows them by their new ids (pruning/vocabulary.h). The layers are as they were.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/import.h"
#include "pruning/vocabulary.h"

namespace edgeq {

struct Trimmed {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::vector<TokenId> kept;  // of the whole model's tokens
  int64_t seen = 0;           // tokens of that model that are in the texts
};

// Tokens are counted in the whole of the texts: paths, or `default`; without any, of `default`. Throws Error
// as tokens_to_keep(), for a text that cannot be read and when no token would go.
Trimmed trim_vocabulary(const std::shared_ptr<const Checkpoint>& checkpoint, const VocabularyCut& cut,
                        const std::vector<std::string>& texts);

}  // namespace edgeq
