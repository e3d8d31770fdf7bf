// SPDX-License-Identifier: Apache-2.0
// The tokenizer section of GGUF: "gpt2" for byte-level BPE, which names its pre-tokenizer, and "llama" for
// SentencePiece BPE, which ranks merges by the score of what they make.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "models/export.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

void set_tokens(GgufWriter& writer, const TokenizerData& data, int64_t vocab) {
  if (std::ssize(data.tokens) > vocab)
    throw Error(
        fmt::format("the tokenizer has {} tokens; the embedding has {} rows", data.tokens.size(), vocab));
  std::vector<std::string> tokens = data.tokens;
  std::vector<int32_t> types;
  for (const TokenType type : data.types) types.push_back(int32_t(type));
  tokens.resize(size_t(vocab));
  types.resize(size_t(vocab), int32_t(TokenType::unused));
  // llama.cpp wants every spelling once.
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty()) continue;
    tokens[id] = fmt::format("[PAD{}]", id);
    types[id] = int32_t(TokenType::unused);
  }
  writer.set("tokenizer.ggml.tokens", std::move(tokens));
  writer.set("tokenizer.ggml.token_type", std::move(types));
}

void set_byte_level(GgufWriter& writer, const TokenizerData& data) {
  const std::string name = gguf_pre_name(data);
  if (name.empty()) throw Error("the tokenizer's pre-tokenizer is none of those that GGUF has a name for");
  writer.set("tokenizer.ggml.model", std::string("gpt2"));
  writer.set("tokenizer.ggml.pre", name);
  writer.set("tokenizer.ggml.merges", merge_texts(data));
}

// Whether a text is one character again and again.
bool is_run(std::string_view text) {
  const size_t length = first_char(text).length;
  for (size_t at = 0; at < text.size(); at += length)
    if (text.substr(at, length) != text.substr(0, length)) return false;
  return true;
}

// A list of ranked merges as scores: the earlier a token is made, the higher its score. Pairs then merge in
// the same order, provided that each token's merges are neighbours in the list, and that whatever two symbols
// spell a token is a merge; both hold for the lists that were made from SentencePiece models. There, all runs
// of spaces may have one score. Their merges then stand in the list by the length of the left part, the
// longest first, which makes a run grow from the left, as merging the leftmost of equal scores does.
class MergeScores {
 public:
  explicit MergeScores(const TokenizerData& data) : data_(data), scores_(data.tokens.size()) {
    for (size_t id = 0; id < data.tokens.size(); ++id)
      if (data.types[id] == TokenType::normal) ids_.emplace(data.tokens[id], TokenId(id));
  }

  std::vector<float> take() {
    for (float& score : scores_) score = -float(data_.merges.size());
    score_results();
    for (const auto& [text, id] : ids_) check_splits(text);
    return std::move(scores_);
  }

 private:
  [[noreturn]] static void refuse(std::string_view token) {
    throw Error(fmt::format(
        "the tokenizer's merges cannot be written as the scores that GGUF wants: token '{}'", token));
  }

  // The token that each merge makes.
  std::vector<size_t> results() {
    std::vector<size_t> ids;
    for (const MergePair& merge : data_.merges) {
      const std::string& left = data_.tokens[size_t(merge.left)];
      const std::string& right = data_.tokens[size_t(merge.right)];
      const auto found = ids_.find(left + right);
      if (found == ids_.end()) refuse(left + right);
      pairs_.emplace(left, right);
      ids.push_back(size_t(found->second));
    }
    return ids;
  }

  void score_results() {
    const std::vector<size_t> made = results();
    last_rank_.resize(data_.tokens.size());
    for (size_t rank = 0; rank < made.size(); ++rank) last_rank_[made[rank]] = rank;
    for (size_t begin = 0, end = 0; begin < made.size(); begin = end + 1) {
      end = begin;
      bool tie = false;
      for (size_t rank = begin; rank <= end; ++rank) {
        end = std::max(end, last_rank_[made[rank]]);
        tie |= made[rank] != made[begin];
        scores_[made[rank]] = -float(begin);
      }
      if (tie) check_tie(begin, end);
    }
  }

  void check_tie(size_t begin, size_t end) const {
    const auto left = [&](size_t rank) -> const std::string& {
      return data_.tokens[size_t(data_.merges[rank].left)];
    };
    const auto right = [&](size_t rank) -> const std::string& {
      return data_.tokens[size_t(data_.merges[rank].right)];
    };
    const std::string one = left(begin).substr(0, first_char(left(begin)).length);
    const auto two = ids_.find(one + one);  // every run begins with it, so it must not score higher
    bool grows_from_the_left = two != ids_.end() && last_rank_[size_t(two->second)] >= begin;
    for (size_t rank = begin; rank <= end; ++rank) {
      grows_from_the_left &= is_run(one + left(rank) + right(rank));
      grows_from_the_left &= rank == begin || left(rank).size() <= left(rank - 1).size();
    }
    if (!grows_from_the_left) refuse(left(begin) + right(begin));
  }

  bool is_symbol(std::string_view text) const {
    return ids_.contains(std::string(text)) || first_char(text).length == text.size();
  }

  void check_splits(const std::string& token) const {
    const std::string_view text = token;
    for (size_t at = first_char(text).length; at < text.size(); at += first_char(text.substr(at)).length) {
      const std::string_view left = text.substr(0, at), right = text.substr(at);
      if (is_symbol(left) && is_symbol(right) && !pairs_.contains({std::string(left), std::string(right)}))
        refuse(token);
    }
  }

  const TokenizerData& data_;
  std::unordered_map<std::string, TokenId> ids_;
  std::set<std::pair<std::string, std::string>> pairs_;
  std::vector<size_t> last_rank_;  // by token
  std::vector<float> scores_;
};

// Whether a text gets a space in front. Throws Error for a step that GGUF's "llama" does not take.
bool adds_space_prefix(const TokenizerData& data) {
  const auto refuse = [](std::string_view step) {
    throw Error(fmt::format("GGUF has no place for the tokenizer's {} step", step));
  };
  bool prefix = false, has_spaces = true;  // after the normalizer
  for (const NormalizeStep& step : data.normalize) {
    if (step.kind == NormalizeStep::Kind::nfc) refuse("NFC");
    if (!step.charsmap.empty() || step.remove_extra_whitespaces) refuse("normalization");
    if (step.kind == NormalizeStep::Kind::replace && (step.pattern.text != " " || step.content != kMetaSpace))
      refuse("replacement");
    has_spaces &= step.kind != NormalizeStep::Kind::replace;
    prefix |= step.kind == NormalizeStep::Kind::prepend || step.add_dummy_prefix;
  }
  for (const PreTokenizeStep& step : data.pre_tokenize) {
    const bool meta_replace = step.kind == PreTokenizeStep::Kind::replace && step.content == kMetaSpace;
    // Gemma's tokenizer.json cuts at spaces when none are left.
    const bool idle = step.kind == PreTokenizeStep::Kind::split && step.pattern == TextPattern{.text = " "} &&
                      !step.invert && !has_spaces;
    if (idle) continue;
    if (step.kind == PreTokenizeStep::Kind::split || step.kind == PreTokenizeStep::Kind::alphabet)
      refuse("pre-tokenizer");
    if (step.kind == PreTokenizeStep::Kind::replace && !meta_replace) refuse("replacement");
    prefix |= step.kind == PreTokenizeStep::Kind::prepend;
  }
  return prefix;
}

void set_sentencepiece(GgufWriter& writer, const TokenizerData& data, int64_t vocab) {
  std::vector<float> scores = data.kind == TokenizerKind::spm ? data.scores : MergeScores(data).take();
  scores.resize(size_t(vocab), -1e9f);
  writer.set("tokenizer.ggml.model", std::string("llama"));
  writer.set("tokenizer.ggml.pre", std::string("default"));
  writer.set("tokenizer.ggml.scores", std::move(scores));
  writer.set("tokenizer.ggml.add_space_prefix", adds_space_prefix(data));
}

void set_special(GgufWriter& writer, const TokenizerData& data) {
  const auto set_id = [&](std::string_view name, std::optional<TokenId> id) {
    if (id) writer.set(fmt::format("tokenizer.ggml.{}_token_id", name), uint32_t(*id));
  };
  set_id("bos", data.bos);
  set_id("eos", data.eos);
  set_id("unknown", data.unknown);
  set_id("padding", data.padding);
  // llama.cpp knows the usual spellings of an end of turn; one beside EOS is named for certainty.
  for (const TokenId id : data.end_tokens)
    if (id != data.eos) {
      set_id("eot", id);
      break;
    }
  writer.set("tokenizer.ggml.add_bos_token", data.adds_bos);
  if (!data.chat_template.empty()) writer.set("tokenizer.chat_template", data.chat_template);
}

// llama.cpp puts its space in front of each piece of text between added tokens, whatever it begins with.
bool spares_spaces(const TokenizerData& data) {
  const auto looks = [](const PreTokenizeStep& step) { return step.kind == PreTokenizeStep::Kind::prepend; };
  const auto puts = [](const NormalizeStep& step) { return step.kind == NormalizeStep::Kind::prepend; };
  return std::ranges::any_of(data.pre_tokenize, looks) ||
         (std::ranges::any_of(data.normalize, puts) &&
          std::ranges::any_of(data.added, &AddedToken::normalized));
}

}  // namespace

std::vector<std::string> gguf_tokenizer_notes(const TokenizerData& tokenizer) {
  std::vector<std::string> notes;
  const auto takes_space = [](const AddedToken& t) { return t.lstrip || t.rstrip || t.single_word; };
  if (const auto count = std::ranges::count_if(tokenizer.added, takes_space); count != 0)
    notes.push_back(fmt::format(
        "{} added tokens take the white space beside them or stand alone as words; GGUF cannot say so",
        count));
  if (spares_spaces(tokenizer))
    notes.emplace_back(
        "llama.cpp puts a space in front of text after every added token, and before a space; this tokenizer "
        "not always");
  return notes;
}

void set_gguf_tokenizer(GgufWriter& writer, const TokenizerData& tokenizer, int64_t vocab) {
  set_tokens(writer, tokenizer, vocab);
  if (tokenizer.decode.byte_level) {
    set_byte_level(writer, tokenizer);
  } else if (tokenizer.byte_fallback) {
    set_sentencepiece(writer, tokenizer, vocab);
  } else {
    throw Error(
        "the tokenizer is neither byte-level nor has byte tokens to fall back to; GGUF needs one of them");
  }
  set_special(writer, tokenizer);
}

}  // namespace edgeq
