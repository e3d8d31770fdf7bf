// SPDX-License-Identifier: Apache-2.0
// A tokenizer as the files that the Python packages read: tokenizer.json (format of `tokenizers` 0.2x),
// tokenizer_config.json and generation_config.json.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <unordered_map>

#include "core/error.h"
#include "models/export_hf.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(std::string_view what) {
  throw Error(fmt::format("tokenizer.json has no place for the tokenizer's {}", what));
}

Json pattern_json(const TextPattern& pattern) {
  return {{pattern.is_regex ? "Regex" : "String", pattern.text}};
}

Json replace_json(const TextPattern& pattern, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", pattern_json(pattern)}, {"content", content}};
}

// One part as it is, several as a sequence, none as null.
Json sequence(const char* members, std::vector<Json> parts) {
  if (parts.empty()) return nullptr;
  if (parts.size() == 1) return parts[0];
  return {{"type", "Sequence"}, {members, std::move(parts)}};
}

void add_sentencepiece(const NormalizeStep& step, std::vector<Json>& parts) {
  if (!step.charsmap.empty() || step.remove_extra_whitespaces) refuse("SentencePiece normalization");
  if (!step.escape_whitespaces) refuse("spaces that are not escaped");
  const std::string meta(kMetaSpace);
  if (step.add_dummy_prefix) parts.push_back({{"type", "Prepend"}, {"prepend", meta}});
  parts.push_back(replace_json({" ", false}, meta));
}

Json normalizer_json(const TokenizerData& data) {
  std::vector<Json> parts;
  for (const NormalizeStep& step : data.normalize) {
    switch (step.kind) {
      case NormalizeStep::Kind::nfc: parts.push_back({{"type", "NFC"}}); break;
      case NormalizeStep::Kind::prepend:
        parts.push_back({{"type", "Prepend"}, {"prepend", step.content}});
        break;
      case NormalizeStep::Kind::replace: parts.push_back(replace_json(step.pattern, step.content)); break;
      case NormalizeStep::Kind::sentencepiece: add_sentencepiece(step, parts); break;
    }
  }
  return sequence("normalizers", std::move(parts));
}

const char* behavior_name(SplitBehavior behavior) {
  constexpr const char* kNames[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                    "Contiguous"};
  return kNames[int(behavior)];
}

// The steps of a pre-tokenizer in order, those that are one part of the file taken together.
class PreTokenizerParts {
 public:
  explicit PreTokenizerParts(const std::vector<PreTokenizeStep>& steps) : steps_(steps) {}

  Json run() {
    while (at_ < steps_.size()) {
      switch (steps_[at_].kind) {
        case Kind::split: split(); break;
        case Kind::replace: metaspace(); break;
        case Kind::prepend:
        case Kind::alphabet: byte_level(); break;
      }
    }
    return sequence("pretokenizers", std::move(parts_));
  }

 private:
  using Kind = PreTokenizeStep::Kind;

  bool next_is(Kind kind) const { return at_ < steps_.size() && steps_[at_].kind == kind; }

  void split() {
    const PreTokenizeStep& step = steps_[at_++];
    parts_.push_back({{"type", "Split"},
                      {"pattern", pattern_json(step.pattern)},
                      {"behavior", behavior_name(step.behavior)},
                      {"invert", step.invert}});
  }

  // " " by a letter, that letter in front, a split before each of it.
  void metaspace() {
    const PreTokenizeStep& replace = steps_[at_++];
    if (replace.pattern.is_regex || replace.pattern.text != " ") refuse("replacement before splitting");
    const char* scheme = "never";
    if (next_is(Kind::prepend) && steps_[at_].content == replace.content)
      scheme = steps_[at_++].first_only ? "first" : "always";
    const bool splits = next_is(Kind::split) && !steps_[at_].pattern.is_regex && !steps_[at_].invert &&
                        steps_[at_].pattern.text == replace.content &&
                        steps_[at_].behavior == SplitBehavior::merged_with_next;
    if (splits) ++at_;
    parts_.push_back({{"type", "Metaspace"},
                      {"replacement", replace.content},
                      {"prepend_scheme", scheme},
                      {"split", splits}});
  }

  // A space in front, GPT-2's expression, the alphabet of bytes; the last alone elsewhere.
  void byte_level() {
    bool prefix = false, expression = false;
    if (next_is(Kind::prepend)) {
      prefix = steps_[at_].content == " " && !steps_[at_].first_only;
      ++at_;
      expression = next_is(Kind::split) && steps_[at_] == split_step(kGpt2Expression);
      if (expression) ++at_;
      if (!prefix || !next_is(Kind::alphabet)) refuse("prefix");
    }
    ++at_;
    parts_.push_back({{"type", "ByteLevel"},
                      {"add_prefix_space", prefix},
                      {"trim_offsets", true},
                      {"use_regex", expression}});
  }

  const std::vector<PreTokenizeStep>& steps_;
  size_t at_ = 0;
  std::vector<Json> parts_;
};

Json decoder_json(const DecodeRules& rules) {
  if (rules.byte_level)
    return {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  std::vector<Json> parts;
  for (const auto& [from, to] : rules.replacements) {
    if (rules.drop_spaces_of_first_token && to == " ") {
      parts.push_back(
          {{"type", "Metaspace"}, {"replacement", from}, {"prepend_scheme", "always"}, {"split", true}});
    } else {
      parts.push_back(replace_json({from, false}, to));
    }
  }
  if (rules.byte_fallback) parts.push_back({{"type", "ByteFallback"}});
  if (!rules.drop_spaces_of_first_token) {
    parts.push_back({{"type", "Fuse"}});
    if (rules.strip_leading_spaces > 0)
      parts.push_back(
          {{"type", "Strip"}, {"content", " "}, {"start", rules.strip_leading_spaces}, {"stop", 0}});
  }
  return sequence("decoders", std::move(parts));
}

Json post_processor_json(const TokenizerData& data) {
  if (!data.adds_bos) return nullptr;
  const std::string& bos = data.tokens[size_t(*data.bos)];
  const Json first = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json second = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({first, text})},
          {"pair", Json::array({first, text, second})},
          {"special_tokens",
           {{bos, {{"id", bos}, {"ids", Json::array({*data.bos})}, {"tokens", Json::array({bos})}}}}}};
}

// Pairs in the order in which SentencePiece would merge them: by the score of what they make, as transformers
// converts such models.
std::vector<std::pair<std::string, std::string>> merges_by_score(const TokenizerData& data) {
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.types[id] == TokenType::normal) ids.emplace(data.tokens[id], id);
  struct Merge {
    float score;
    size_t left, right;
  };
  std::vector<Merge> merges;
  for (const auto& [text, id] : ids)
    for (size_t at = first_char(text).length; at < text.size(); at += first_char(text.substr(at)).length) {
      const auto left = ids.find(text.substr(0, at)), right = ids.find(text.substr(at));
      if (left != ids.end() && right != ids.end())
        merges.push_back({data.scores[id], left->second, right->second});
    }
  const auto chars = [&](size_t id) {
    return std::ranges::count_if(data.tokens[id], [](char c) { return (uint8_t(c) & 0xC0) != 0x80; });
  };
  std::ranges::sort(merges, [&](const Merge& a, const Merge& b) {
    return std::tuple(-a.score, -chars(a.left), -chars(a.right), a.left, a.right) <
           std::tuple(-b.score, -chars(b.left), -chars(b.right), b.left, b.right);
  });
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const Merge& merge : merges) pairs.emplace_back(data.tokens[merge.left], data.tokens[merge.right]);
  return pairs;
}

std::vector<std::pair<std::string, std::string>> merge_pairs(const TokenizerData& data) {
  if (data.kind == TokenizerKind::spm) return merges_by_score(data);
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const MergePair& merge : data.merges)
    pairs.emplace_back(data.tokens[size_t(merge.left)], data.tokens[size_t(merge.right)]);
  return pairs;
}

// "left right", which every version of the package reads, or lists of two where a piece has a space.
nlohmann::json merges_json(const TokenizerData& data) {
  const auto pairs = merge_pairs(data);
  const bool spaces = std::ranges::any_of(pairs, [](const auto& pair) {
    return pair.first.find(' ') != std::string::npos || pair.second.find(' ') != std::string::npos;
  });
  nlohmann::json merges = nlohmann::json::array();
  for (const auto& [left, right] : pairs) {
    if (spaces) {
      merges.push_back({left, right});
    } else {
      merges.push_back(left + " " + right);
    }
  }
  return merges;
}

// By their spelling: an ordered object would look through all of them for each.
nlohmann::json vocab_json(const TokenizerData& data) {
  std::set<TokenId> added_only;
  for (const AddedToken& token : data.added)
    if (!token.in_model) added_only.insert(token.id);
  nlohmann::json vocab = nlohmann::json::object();
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (data.tokens[id].empty() || added_only.contains(TokenId(id))) continue;
    if (!vocab.emplace(data.tokens[id], id).second)
      throw Error(fmt::format("the tokenizer spells '{}' twice; tokenizer.json has each token once",
                              data.tokens[id]));
  }
  return vocab;
}

Json added_json(const TokenizerData& data) {
  Json added = Json::array();
  for (const AddedToken& token : data.added)
    added.push_back({{"id", token.id},
                     {"content", data.tokens[size_t(token.id)]},
                     {"single_word", token.single_word},
                     {"lstrip", token.lstrip},
                     {"rstrip", token.rstrip},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  return added;
}

std::string dump(const Json& json, int indent) {
  try {
    return json.dump(indent) + "\n";
  } catch (const Json::exception&) {
    throw Error("the tokenizer has a token that is not UTF-8; tokenizer.json has no place for it");
  }
}

}  // namespace

std::string tokenizer_json(const TokenizerData& data) {
  const bool spm = data.kind == TokenizerKind::spm;
  Json model = {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}};
  if (data.unknown) model["unk_token"] = data.tokens[size_t(*data.unknown)];
  model["continuing_subword_prefix"] = nullptr;
  model["end_of_word_suffix"] = nullptr;
  model["fuse_unk"] = spm || data.fuse_unknown;
  model["byte_fallback"] = data.byte_fallback;
  model["ignore_merges"] = data.ignore_merges;
  model["vocab"] = vocab_json(data);
  model["merges"] = merges_json(data);
  return dump({{"version", "1.0"},
               {"truncation", nullptr},
               {"padding", nullptr},
               {"added_tokens", added_json(data)},
               {"normalizer", normalizer_json(data)},
               {"pre_tokenizer", PreTokenizerParts(data.pre_tokenize).run()},
               {"post_processor", post_processor_json(data)},
               {"decoder", decoder_json(data.decode)},
               {"model", std::move(model)}},
              -1);
}

std::string tokenizer_config_json(const TokenizerData& data, int64_t context) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  const auto set = [&](const char* key, std::optional<TokenId> id) {
    if (id) config[key] = data.tokens[size_t(*id)];
  };
  set("bos_token", data.bos);
  set("eos_token", data.eos);
  set("unk_token", data.unknown);
  set("pad_token", data.padding);
  config["add_bos_token"] = data.adds_bos;
  config["add_eos_token"] = false;
  config["clean_up_tokenization_spaces"] = false;
  config["model_max_length"] = context;
  if (!data.chat_template.empty()) config["chat_template"] = data.chat_template;
  return dump(config, 2);
}

std::string generation_config_json(const TokenizerData& data) {
  Json config = Json::object();
  if (data.bos) config["bos_token_id"] = *data.bos;
  if (data.end_tokens.size() == 1) config["eos_token_id"] = data.end_tokens[0];
  if (data.end_tokens.size() > 1) config["eos_token_id"] = data.end_tokens;
  if (data.padding) config["pad_token_id"] = *data.padding;
  return dump(config, 2);
}

}  // namespace edgeq
