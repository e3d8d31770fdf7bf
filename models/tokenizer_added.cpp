// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_added.h"

#include <algorithm>

#include "models/tokenizer_text.h"

namespace edgeq {

AddedTokens::AddedTokens() : nodes_(1) {}

void AddedTokens::add(const AddedToken& token, std::string_view spelling) {
  starts_[uint8_t(spelling.front())] = true;
  uint32_t node = 0;
  for (const char c : spelling) {
    const auto [edge, fresh] = edges_.try_emplace(uint64_t(node) << 8 | uint8_t(c), uint32_t(nodes_.size()));
    if (fresh) nodes_.emplace_back();
    node = edge->second;
  }
  nodes_[node].token = int32_t(tokens_.size());
  tokens_.push_back(token);
  // The word characters of Rust's regex crate, with which the Python package tests this.
  if (token.single_word && !word_) word_.emplace("[\\w\\x{200C}\\x{200D}]");
}

AddedTokens::Match AddedTokens::match(std::string_view text) const {
  Match best;
  if (text.empty() || !starts_[uint8_t(text.front())]) return best;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto edge = edges_.find(uint64_t(node) << 8 | uint8_t(text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (nodes_[node].token >= 0) best = {i + 1, nodes_[node].token};
  }
  return best;
}

bool AddedTokens::stands_alone(std::string_view text, size_t begin, size_t end) const {
  size_t before = begin;
  while (before > 0 && (uint8_t(text[--before]) & 0xC0) == 0x80) continue;
  if (begin > 0 && word_->matches_at_start(text.substr(before, begin - before))) return false;
  return end == text.size() || !word_->matches_at_start(text.substr(end));
}

std::vector<AddedTokens::Piece> AddedTokens::cut(std::string_view text, bool skip_special) const {
  std::vector<Piece> pieces;
  size_t done = 0;  // everything before is in pieces
  for (size_t at = 0; at < text.size() && !empty();) {
    const Match found = match(text.substr(at));
    if (found.length == 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[size_t(found.token)];
    size_t begin = at, end = at + found.length;
    at = end;
    if (skip_special && token.special) continue;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(begin - trailing_white_space(text.substr(0, begin)), done);
    if (token.rstrip) end += leading_white_space(text.substr(end));
    if (done < begin) pieces.push_back({done, begin, std::nullopt});
    pieces.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({done, text.size(), std::nullopt});
  return pieces;
}

}  // namespace edgeq
