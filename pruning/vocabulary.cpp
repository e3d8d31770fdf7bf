// SPDX-License-Identifier: Apache-2.0
#include "pruning/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <string>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

// The pairs that merge into each token.
using Parts = std::vector<std::vector<MergePair>>;

Parts parts_of(const TokenizerData& data) {
  std::vector<bool> outside(data.tokens.size(), false);
  for (const AddedToken& token : data.added) outside[size_t(token.id)] = !token.in_model;
  std::unordered_map<std::string_view, TokenId> ids;
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (!outside[id]) ids.insert_or_assign(data.tokens[id], TokenId(id));
  Parts parts(data.tokens.size());
  for (const MergePair& merge : data.merges) {
    const std::string made = data.tokens[size_t(merge.left)] + data.tokens[size_t(merge.right)];
    const auto found = ids.find(made);
    EDGEQ_CHECK(found != ids.end(), "check_tokenizer() knows what every merge makes");
    parts[size_t(found->second)].push_back(merge);
  }
  return parts;
}

bool is_character(std::string_view text) { return !text.empty() && first_char(text).length == text.size(); }

class Keeping {
 public:
  explicit Keeping(const TokenizerData& data) : parts_(parts_of(data)), stays_(data.tokens.size(), false) {
    for (size_t id = 0; id < data.tokens.size(); ++id)
      if (is_character(data.tokens[id]) || data.types[id] == TokenType::byte) keep(TokenId(id));
    for (const AddedToken& token : data.added) keep(token.id);
    for (const auto& token : {data.unknown, data.bos, data.eos, data.padding})
      if (token) keep(*token);
    for (const TokenId token : data.end_tokens) keep(token);
  }

  void keep(TokenId token) {
    for (const TokenId one : lacking(token)) {
      stays_[size_t(one)] = true;
      ++count_;
    }
  }
  // Of a token and what it is made of, those that do not stay yet.
  std::vector<TokenId> lacking(TokenId token) const {
    std::vector<TokenId> found;
    std::vector<TokenId> open = {token};
    while (!open.empty()) {
      const TokenId one = open.back();
      open.pop_back();
      if (stays_[size_t(one)] || std::ranges::count(found, one) != 0) continue;
      found.push_back(one);
      for (const auto& [left, right] : parts_[size_t(one)]) {
        open.push_back(left);
        open.push_back(right);
      }
    }
    return found;
  }
  int64_t count() const { return count_; }
  std::vector<TokenId> tokens() const {
    std::vector<TokenId> kept;
    for (size_t id = 0; id < stays_.size(); ++id)
      if (stays_[id]) kept.push_back(TokenId(id));
    return kept;
  }

 private:
  Parts parts_;
  std::vector<bool> stays_;
  int64_t count_ = 0;
};

}  // namespace

VocabularyCut parse_vocabulary_cut(std::string_view text) {
  if (text == "unused") return {};
  double share = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), share);
  if (problem != std::errc() || end != text.data() + text.size() || !(share > 0 && share < 1))
    throw Error(fmt::format(
        "vocab is \"{}\"; expected `unused`, or a share of the tokens to cut above 0 and below 1", text));
  return {.share = share};
}

std::vector<TokenId> tokens_to_keep(const TokenizerData& data, int64_t rows, std::span<const int64_t> counts,
                                    const VocabularyCut& cut) {
  if (data.kind != TokenizerKind::bpe)
    throw Error("a SentencePiece vocabulary, whose pieces are made by score, cannot lose tokens")
        .set_hint("a tokenizer.json with merges can");
  Keeping keeping(data);
  const int64_t most = cut.share == 0 ? rows : rows - std::llround(cut.share * double(rows));
  if (keeping.count() > most)
    throw Error(
        fmt::format("{} of {} tokens leaves {}; characters and special tokens, which have to stay, are {}",
                    cut.share, rows, most, keeping.count()));
  std::vector<TokenId> order(data.tokens.size());
  std::iota(order.begin(), order.end(), TokenId(0));
  std::ranges::stable_sort(order, std::ranges::greater(), [&](TokenId id) { return counts[size_t(id)]; });
  for (const TokenId id : order) {
    if (data.tokens[size_t(id)].empty() || (cut.share == 0 && counts[size_t(id)] == 0)) continue;
    if (keeping.count() + std::ssize(keeping.lacking(id)) <= most) keeping.keep(id);
  }
  return keeping.tokens();
}

TokenizerData trim_tokenizer(const TokenizerData& data, std::span<const TokenId> kept) {
  std::vector<TokenId> id_of(data.tokens.size(), -1);
  TokenizerData out = data;
  out.tokens.clear();
  out.types.clear();
  out.scores.clear();
  out.merges.clear();
  for (const TokenId old : kept) {
    id_of[size_t(old)] = TokenId(out.tokens.size());
    out.tokens.push_back(data.tokens[size_t(old)]);
    out.types.push_back(data.types[size_t(old)]);
    if (!data.scores.empty()) out.scores.push_back(data.scores[size_t(old)]);
  }
  const Parts parts = parts_of(data);
  std::vector<std::pair<TokenId, TokenId>> gone;  // merges of what does not stay
  for (size_t id = 0; id < parts.size(); ++id)
    if (id_of[id] < 0)
      for (const MergePair& pair : parts[id]) gone.emplace_back(pair.left, pair.right);
  std::ranges::sort(gone);
  for (const auto& [left, right] : data.merges)
    if (!std::ranges::binary_search(gone, std::pair(left, right)))
      out.merges.push_back({id_of[size_t(left)], id_of[size_t(right)]});
  for (AddedToken& token : out.added) token.id = id_of[size_t(token.id)];
  for (auto* token : {&out.unknown, &out.bos, &out.eos, &out.padding})
    if (*token) *token = id_of[size_t(**token)];
  for (TokenId& token : out.end_tokens) token = id_of[size_t(token)];
  check_tokenizer(out);
  return out;
}

}  // namespace edgeq
