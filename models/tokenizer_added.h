// SPDX-License-Identifier: Apache-2.0
// Finds added tokens in a text: leftmost first, the longest of those that start there, not overlapping.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/tokenizer_data.h"
#include "models/tokenizer_pattern.h"

namespace edgeq {

class AddedTokens {
 public:
  AddedTokens();
  // `spelling` is how the token appears in the texts that will be cut (not empty).
  void add(const AddedToken& token, std::string_view spelling);
  bool empty() const { return nodes_.size() == 1; }

  struct Piece {
    size_t begin = 0, end = 0;
    std::optional<TokenId> token;  // nullopt: ordinary text
  };
  // Pieces that cover `text` in order; white space that a token takes belongs to its piece. With
  // `skip_special` the spelling of a special token is ordinary text.
  std::vector<Piece> cut(std::string_view text, bool skip_special) const;
  // Length of the longest spelling at the start of `text`, 0 when there is none.
  size_t longest_prefix(std::string_view text) const { return match(text).length; }

 private:
  struct Node {
    int32_t token = -1;  // index into tokens_ when a spelling ends here
  };
  struct Match {
    size_t length = 0;
    int32_t token = -1;
  };
  Match match(std::string_view text) const;
  bool stands_alone(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte -> node
  std::array<bool, 256> starts_{};                // bytes that begin a spelling: most positions end here
  std::optional<Pattern> word_;                   // made only when a token is single_word
};

}  // namespace edgeq
