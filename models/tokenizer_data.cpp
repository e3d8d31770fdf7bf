// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"

namespace edgeq {
namespace {

constexpr size_t kMaxTokens = 1 << 24;

void check_added(const TokenizerData& data) {
  TokenId last = -1;
  for (const AddedToken& token : data.added) {
    if (token.id < 0 || size_t(token.id) >= data.tokens.size()) {
      throw Error(fmt::format("added token {}: the vocabulary has {} tokens", token.id, data.tokens.size()));
    }
    if (token.id <= last) throw Error(fmt::format("added token {}: listed twice or out of order", token.id));
    if (data.tokens[size_t(token.id)].empty()) throw Error(fmt::format("added token {}: no text", token.id));
    last = token.id;
  }
}

void check_steps(const TokenizerData& data) {
  for (const NormalizeStep& step : data.normalize) {
    if (step.kind == NormalizeStep::Kind::replace && step.pattern.text.empty()) {
      throw Error("normalizer: replaces an empty text");
    }
  }
  for (const PreTokenizeStep& step : data.pre_tokenize) {
    const bool searches =
        step.kind == PreTokenizeStep::Kind::split || step.kind == PreTokenizeStep::Kind::replace;
    if (searches && step.pattern.text.empty()) throw Error("pre-tokenizer: an empty pattern");
  }
  for (const auto& [from, to] : data.decode.replacements) {
    if (from.empty()) throw Error("decoder: replaces an empty text");
  }
}

}  // namespace

std::vector<std::string> merge_texts(const TokenizerData& data) {
  std::vector<std::string> texts;
  texts.reserve(data.merges.size());
  for (const auto& [left, right] : data.merges) {
    texts.push_back(fmt::format("{} {}", data.tokens[size_t(left)], data.tokens[size_t(right)]));
  }
  return texts;
}

PreTokenizeStep split_step(std::string_view expression, SplitBehavior behavior) {
  PreTokenizeStep step;
  step.pattern = {std::string(expression), true};
  step.behavior = behavior;
  return step;
}

PreTokenizeStep alphabet_step() {
  PreTokenizeStep step;
  step.kind = PreTokenizeStep::Kind::alphabet;
  return step;
}

void add_end_token(TokenizerData& data, TokenId token) {
  const auto at = std::lower_bound(data.end_tokens.begin(), data.end_tokens.end(), token);
  if (at == data.end_tokens.end() || *at != token) data.end_tokens.insert(at, token);
}

void add_known_end_tokens(TokenizerData& data) {
  constexpr std::array<std::string_view, 9> kEndings = {
      "<|im_end|>",    "<|eot_id|>",    "<|eom_id|>",      "<|end|>",
      "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>",
      "<|return|>"};
  if (data.eos) add_end_token(data, *data.eos);
  for (const AddedToken& token : data.added) {
    const std::string& text = data.tokens[size_t(token.id)];
    if (std::find(kEndings.begin(), kEndings.end(), text) != kEndings.end()) add_end_token(data, token.id);
  }
}

void check_tokenizer(const TokenizerData& data) {
  const size_t count = data.tokens.size();
  if (count == 0 || count > kMaxTokens) {
    throw Error(fmt::format("a vocabulary of {} tokens; expected 1 to {}", count, kMaxTokens));
  }
  if (data.types.size() != count) {
    throw Error(fmt::format("{} token types for {} tokens", data.types.size(), count));
  }
  const size_t scores = data.kind == TokenizerKind::spm ? count : 0;
  if (data.scores.size() != scores) {
    throw Error(fmt::format("{} scores; expected {}", data.scores.size(), scores));
  }
  for (size_t i = 0; i < scores; ++i) {
    if (std::isnan(data.scores[i])) throw Error(fmt::format("token {}: its score is not a number", i));
  }
  const auto check_id = [&](std::optional<TokenId> id, std::string_view what) {
    if (id && (*id < 0 || size_t(*id) >= count)) {
      throw Error(fmt::format("{} {}: the vocabulary has {} tokens", what, *id, count));
    }
  };
  check_id(data.unknown, "unknown token");
  check_id(data.bos, "bos token");
  check_id(data.eos, "eos token");
  check_id(data.padding, "padding token");
  for (const TokenId id : data.end_tokens) check_id(id, "end token");
  if (data.adds_bos && !data.bos) throw Error("a bos token is to be added, but none is named");
  for (const auto& [left, right] : data.merges) {
    check_id(left, "merge of token");
    check_id(right, "merge of token");
  }
  check_added(data);
  check_steps(data);
}

}  // namespace edgeq
