// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_bpe.h"

#include <fmt/format.h>

#include <queue>

#include "core/error.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

uint64_t pair_key(TokenId left, TokenId right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }

// Pieces that merging by score may make: not control tokens, not byte tokens.
bool can_be_made(TokenType type) {
  return type == TokenType::normal || type == TokenType::user_defined || type == TokenType::unused;
}

}  // namespace

BpeModel::BpeModel(const TokenizerData& data) : data_(data), byte_tokens_(256, -1) {
  std::vector<bool> outside(data.tokens.size());
  for (const AddedToken& token : data.added) outside[size_t(token.id)] = !token.in_model;
  ids_.reserve(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const std::string& text = data.tokens[id];
    if (text.empty() || outside[id]) continue;
    const auto byte = data.byte_fallback ? fallback_byte(text) : std::nullopt;
    if (byte) byte_tokens_[*byte] = TokenId(id);
    if (data.kind == TokenizerKind::spm && !can_be_made(data.types[id])) continue;
    ids_.insert_or_assign(text, TokenId(id));
  }
  merges_.reserve(data.merges.size());
  std::string made;
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const auto [left, right] = data.merges[rank];
    made.assign(data.tokens[size_t(left)]).append(data.tokens[size_t(right)]);
    const auto id = find(made);
    if (!id) throw Error(fmt::format("merge {}: '{}' is not in the vocabulary", rank, made));
    merges_.insert_or_assign(pair_key(left, right), RankedMerge{uint32_t(rank), *id});
  }
}

std::optional<TokenId> BpeModel::find(std::string_view spelling) const {
  const auto found = ids_.find(spelling);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

template <class FindMerge>
void BpeModel::merge_all(std::vector<Symbol>& symbols, FindMerge&& find_merge) {
  struct Candidate {
    float priority;
    int32_t left;
    uint32_t length;  // of both together: a candidate is stale when the pair at `left` is not as long
    TokenId id;
    bool operator<(const Candidate& other) const {  // the best is the largest for std::priority_queue
      return priority != other.priority ? priority > other.priority : left > other.left;
    }
  };
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int32_t left) {
    if (left < 0 || symbols[size_t(left)].next < 0) return;
    const Symbol &a = symbols[size_t(left)], &b = symbols[size_t(a.next)];
    if (const std::optional<Merge> merge = find_merge(a, b)) {
      queue.push({merge->priority, left, a.length + b.length, merge->id});
    }
  };
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = int32_t(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? int32_t(i) + 1 : -1;
  }
  for (size_t i = 0; i < symbols.size(); ++i) consider(int32_t(i));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[size_t(best.left)];
    if (left.length == 0 || left.next < 0) continue;
    Symbol& right = symbols[size_t(left.next)];
    if (left.length + right.length != best.length) continue;
    left.id = best.id;
    left.length = best.length;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[size_t(left.next)].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
}

void BpeModel::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (piece.empty()) return;
  if (piece.size() > size_t(INT32_MAX)) throw Error("a text of 2 GiB or more without a place to cut it");
  data_.kind == TokenizerKind::bpe ? encode_ranked(piece, out) : encode_scored(piece, out);
}

bool BpeModel::push_bytes(std::string_view text, std::vector<TokenId>& out) const {
  if (!data_.byte_fallback) return false;
  for (const char c : text) {
    if (byte_tokens_[uint8_t(c)] < 0) return false;
  }
  for (const char c : text) out.push_back(byte_tokens_[uint8_t(c)]);
  return true;
}

void BpeModel::encode_ranked(std::string_view piece, std::vector<TokenId>& out) const {
  if (data_.ignore_merges) {
    if (const auto whole = find(piece)) return out.push_back(*whole);
  }
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  const auto push = [&](size_t begin, size_t length, TokenId id) {
    symbols.push_back({-1, -1, uint32_t(begin), uint32_t(length), id});
  };
  // The length of the unknown run that is not yet a symbol. Byte tokens do not end it: the order of the
  // Python package where a vocabulary has only some of the bytes.
  size_t unknown = 0;
  const auto flush = [&](size_t end) {
    if (unknown > 0) push(end - unknown, unknown, *data_.unknown);
    unknown = 0;
  };
  std::vector<TokenId> bytes;
  for (size_t at = 0; at < piece.size();) {
    const std::string_view character = piece.substr(at, first_char(piece.substr(at)).length);
    bytes.clear();
    if (const auto id = find(character)) {
      flush(at);
      push(at, character.size(), *id);
    } else if (push_bytes(character, bytes)) {
      for (size_t i = 0; i < bytes.size(); ++i) push(at + i, 1, bytes[i]);
    } else if (data_.unknown) {
      if (!data_.fuse_unknown) flush(at);
      unknown += character.size();
    }
    at += character.size();
  }
  flush(piece.size());
  merge_all(symbols, [&](const Symbol& a, const Symbol& b) -> std::optional<Merge> {
    const auto found = merges_.find(pair_key(a.id, b.id));
    if (found == merges_.end()) return std::nullopt;
    return Merge{float(found->second.rank), found->second.id};
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.length > 0) out.push_back(symbol.id);
  }
}

void BpeModel::encode_scored(std::string_view piece, std::vector<TokenId>& out) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (size_t at = 0; at < piece.size();) {
    const size_t length = first_char(piece.substr(at)).length;
    symbols.push_back({-1, -1, uint32_t(at), uint32_t(length), -1});
    at += length;
  }
  UnusedParts unused;
  merge_all(symbols, [&](const Symbol& a, const Symbol& b) -> std::optional<Merge> {
    const auto id = find(piece.substr(a.begin, a.length + b.length));
    if (!id) return std::nullopt;
    if (data_.types[size_t(*id)] == TokenType::unused) {
      unused[piece.substr(a.begin, a.length + b.length)] = {piece.substr(a.begin, a.length),
                                                            piece.substr(b.begin, b.length)};
    }
    return Merge{-data_.scores[size_t(*id)], *id};
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.length > 0) push_scored(piece.substr(symbol.begin, symbol.length), unused, out);
  }
}

// An unused piece is taken apart again into what it was made of.
void BpeModel::push_scored(std::string_view text, const UnusedParts& parts, std::vector<TokenId>& out) const {
  std::vector<std::string_view> left_to_do{text};
  while (!left_to_do.empty()) {
    const std::string_view piece = left_to_do.back();
    left_to_do.pop_back();
    const auto id = find(piece);
    if (id && data_.types[size_t(*id)] == TokenType::unused) {
      if (const auto found = parts.find(piece); found != parts.end()) {
        left_to_do.push_back(found->second.right);
        left_to_do.push_back(found->second.left);
        continue;
      }
    }
    if (id) {
      out.push_back(*id);
    } else if (!push_bytes(piece, out) && data_.unknown && (out.empty() || out.back() != *data_.unknown)) {
      out.push_back(*data_.unknown);  // SentencePiece writes one for a run of unknown characters
    }
  }
}

}  // namespace edgeq
