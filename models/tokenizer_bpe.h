// SPDX-License-Identifier: Apache-2.0
// Byte pair encoding (Sennrich et al. 2016, https://aclanthology.org/P16-1162): the pair with the best rank
// merges first, of equals the leftmost, until none is left. A heap and a linked list make it n log n, however
// long the piece. Two ways to say which pair is best: by a list of merges (GPT-2 and followers), or by the
// score of the piece that a pair makes (SentencePiece, https://aclanthology.org/D18-2012).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/tokenizer_data.h"

namespace edgeq {

class BpeModel {
 public:
  // `data` has passed check_tokenizer and outlives the model.
  explicit BpeModel(const TokenizerData& data);

  // Appends the tokens of one piece of normalized, pre-tokenized, valid UTF-8 text.
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

  // The id of a model piece spelt so.
  std::optional<TokenId> find(std::string_view spelling) const;

 private:
  struct Symbol {
    int32_t previous = -1, next = -1;
    uint32_t begin = 0, length = 0;  // length 0: merged into the symbol on its left
    TokenId id = -1;                 // -1: not in the vocabulary
  };
  struct Merge {
    float priority = 0;  // smaller merges first
    TokenId id = 0;
  };
  struct RankedMerge {
    uint32_t rank = 0;
    TokenId id = 0;
  };
  struct Parts {
    std::string_view left, right;
  };
  using UnusedParts = std::unordered_map<std::string_view, Parts>;

  template <class FindMerge>
  static void merge_all(std::vector<Symbol>& symbols, FindMerge&& find_merge);
  void encode_ranked(std::string_view piece, std::vector<TokenId>& out) const;
  void encode_scored(std::string_view piece, std::vector<TokenId>& out) const;
  void push_scored(std::string_view text, const UnusedParts& parts, std::vector<TokenId>& out) const;
  bool push_bytes(std::string_view text, std::vector<TokenId>& out) const;

  const TokenizerData& data_;
  std::unordered_map<std::string_view, TokenId> ids_;
  std::unordered_map<uint64_t, RankedMerge> merges_;  // left << 32 | right
  std::vector<TokenId> byte_tokens_;                  // of all 256 bytes, -1 where there is none
};

}  // namespace edgeq
