// SPDX-License-Identifier: Apache-2.0
// Runs the normalizer steps of a tokenizer over a piece of text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer_added.h"
#include "models/tokenizer_data.h"
#include "models/tokenizer_pattern.h"

namespace edgeq {

// SentencePiece's precompiled_charsmap: u32 byte size of a Darts double-array trie, its u32 units, then the
// replacements, each ended by a zero byte; a key's value is the offset of its replacement.
class CharsMap {
 public:
  // Throws Error for a blob that does not hold what it promises.
  explicit CharsMap(std::string_view blob);

  struct Replacement {
    std::string_view text;
    size_t length = 0;  // bytes replaced; 0: no key is a prefix of the text
  };
  // For the longest key that `text` starts with.
  Replacement find(std::string_view text) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;
};

class Normalizer {
 public:
  // `kept`: spellings that SentencePiece's map leaves alone; outlives the normalizer.
  Normalizer(const std::vector<NormalizeStep>& steps, const AddedTokens& kept);

  std::string run(std::string_view text) const;

 private:
  struct Step {
    NormalizeStep data;
    std::optional<Pattern> pattern;
    std::optional<CharsMap> charsmap;
  };
  std::string sentencepiece(const Step& step, std::string_view text) const;

  std::vector<Step> steps_;
  const AddedTokens& kept_;
};

}  // namespace edgeq
