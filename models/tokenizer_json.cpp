// SPDX-License-Identifier: Apache-2.0
// Reads tokenizer.json of the Python `tokenizers` package: vocabulary, added tokens and the pipeline's parts.
// A part that the engine cannot run exactly is an Error naming it.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/error.h"
#include "models/tokenizer_data.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

using nlohmann::json;

json parse(std::string_view text, std::string_view name) {
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) throw Error(fmt::format("{}: not a JSON object", name));
  return value;
}

const json& null_json() {
  static const json value;
  return value;
}

const json& member(const json& object, const char* key) {
  if (!object.is_object()) return null_json();
  const auto found = object.find(key);
  return found == object.end() ? null_json() : *found;
}

bool flag(const json& object, const char* key, bool otherwise) {
  const json& value = member(object, key);
  if (value.is_null()) return otherwise;
  if (!value.is_boolean()) throw Error(fmt::format("'{}' is not true or false", key));
  return value.get<bool>();
}

const std::string& text(const json& object, const char* key) {
  const json& value = member(object, key);
  if (!value.is_string()) throw Error(fmt::format("'{}' is missing or not a text", key));
  return value.get_ref<const std::string&>();
}

int64_t integer(const json& object, const char* key, int64_t otherwise) {
  const json& value = member(object, key);
  if (value.is_null()) return otherwise;
  if (!value.is_number_integer()) throw Error(fmt::format("'{}' is not a whole number", key));
  return value.get<int64_t>();
}

const json& list(const json& object, const char* key) {
  const json& value = member(object, key);
  if (!value.is_array()) throw Error(fmt::format("'{}' is missing or not a list", key));
  return value;
}

[[noreturn]] void refuse(std::string_view part, std::string_view found, std::string_view expected) {
  throw Error(fmt::format("{} '{}' is not supported; expected {}", part, found, expected));
}

// {"String": "..."} or {"Regex": "..."}.
TextPattern read_pattern(const json& object) {
  const json& pattern = member(object, "pattern");
  if (member(pattern, "String").is_string()) return {text(pattern, "String"), false};
  if (member(pattern, "Regex").is_string()) return {text(pattern, "Regex"), true};
  throw Error("'pattern' is neither {\"String\": ...} nor {\"Regex\": ...}");
}

// The members of a Sequence, or the object itself; nested sequences are flattened.
void flatten(const json& object, const char* members, std::vector<const json*>& out) {
  if (object.is_null()) return;
  if (text(object, "type") != "Sequence") return out.push_back(&object);
  for (const json& part : list(object, members)) flatten(part, members, out);
}

void read_normalizer(const json& root, TokenizerData& data) {
  std::vector<const json*> parts;
  flatten(member(root, "normalizer"), "normalizers", parts);
  for (const json* part : parts) {
    const std::string& type = text(*part, "type");
    NormalizeStep step;
    if (type == "NFC") {
      step.kind = NormalizeStep::Kind::nfc;
    } else if (type == "Prepend") {
      step.kind = NormalizeStep::Kind::prepend;
      step.content = text(*part, "prepend");
    } else if (type == "Replace") {
      step.kind = NormalizeStep::Kind::replace;
      step.pattern = read_pattern(*part);
      step.content = text(*part, "content");
    } else {
      refuse("normalizer", type, "NFC, Prepend, Replace or a Sequence of them");
    }
    data.normalize.push_back(std::move(step));
  }
}

SplitBehavior read_behavior(const json& object) {
  constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors = {
      {{"Removed", SplitBehavior::removed},
       {"Isolated", SplitBehavior::isolated},
       {"MergedWithPrevious", SplitBehavior::merged_with_previous},
       {"MergedWithNext", SplitBehavior::merged_with_next},
       {"Contiguous", SplitBehavior::contiguous}}};
  const std::string& name = text(object, "behavior");
  for (const auto& [known, behavior] : kBehaviors) {
    if (name == known) return behavior;
  }
  refuse("behavior", name, "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

PreTokenizeStep prepend_step(std::string content, bool first_only) {
  PreTokenizeStep step;
  step.kind = PreTokenizeStep::Kind::prepend;
  step.content = std::move(content);
  step.first_only = first_only;
  return step;
}

void read_byte_level(const json& part, TokenizerData& data) {
  if (flag(part, "add_prefix_space", true)) data.pre_tokenize.push_back(prepend_step(" ", false));
  if (flag(part, "use_regex", true)) data.pre_tokenize.push_back(split_step(kGpt2Expression));
  data.pre_tokenize.push_back(alphabet_step());
}

// "always" unless told; the older add_prefix_space = false means "never".
std::string prepend_scheme(const json& part) {
  const std::string scheme =
      member(part, "prepend_scheme").is_null() ? "always" : text(part, "prepend_scheme");
  if (flag(part, "add_prefix_space", true)) return scheme;
  if (scheme != "never" && !member(part, "prepend_scheme").is_null()) {
    throw Error(fmt::format("Metaspace: add_prefix_space is false but prepend_scheme is '{}'", scheme));
  }
  return "never";
}

void read_metaspace(const json& part, TokenizerData& data) {
  const std::string& replacement = text(part, "replacement");
  PreTokenizeStep replace;
  replace.kind = PreTokenizeStep::Kind::replace;
  replace.pattern.text = " ";
  replace.content = replacement;
  data.pre_tokenize.push_back(replace);
  const std::string scheme = prepend_scheme(part);
  if (scheme == "always" || scheme == "first") {
    data.pre_tokenize.push_back(prepend_step(replacement, scheme == "first"));
  } else if (scheme != "never") {
    refuse("prepend_scheme", scheme, "always, first or never");
  }
  if (flag(part, "split", true)) {
    PreTokenizeStep split;
    split.pattern.text = replacement;
    split.behavior = SplitBehavior::merged_with_next;
    data.pre_tokenize.push_back(split);
  }
}

void read_pre_tokenizer(const json& root, TokenizerData& data) {
  // What the Python package calls punctuation and a digit.
  constexpr std::string_view kPunctuation = "[!-/:-@\\[-`{-~\\p{P}]";
  std::vector<const json*> parts;
  flatten(member(root, "pre_tokenizer"), "pretokenizers", parts);
  for (const json* part : parts) {
    const std::string& type = text(*part, "type");
    if (type == "ByteLevel") {
      read_byte_level(*part, data);
    } else if (type == "Split") {
      PreTokenizeStep step;
      step.pattern = read_pattern(*part);
      step.behavior = read_behavior(*part);
      step.invert = flag(*part, "invert", false);
      data.pre_tokenize.push_back(std::move(step));
    } else if (type == "Digits") {
      const bool alone = flag(*part, "individual_digits", false);
      data.pre_tokenize.push_back(
          split_step("\\p{N}", alone ? SplitBehavior::isolated : SplitBehavior::contiguous));
    } else if (type == "Punctuation") {
      data.pre_tokenize.push_back(split_step(kPunctuation, member(*part, "behavior").is_null()
                                                               ? SplitBehavior::isolated
                                                               : read_behavior(*part)));
    } else if (type == "Metaspace") {
      read_metaspace(*part, data);
    } else {
      refuse("pre_tokenizer", type, "ByteLevel, Split, Digits, Punctuation, Metaspace or a Sequence of them");
    }
  }
}

void read_strip(const json& part, bool fused, TokenizerData& data) {
  if (!fused || text(part, "content") != " " || integer(part, "stop", 0) != 0) {
    throw Error("decoder 'Strip' is supported only after 'Fuse', for spaces at the start");
  }
  const int64_t start = integer(part, "start", 0);
  if (start < 0 || start > 1) throw Error(fmt::format("decoder 'Strip': start {}; expected 0 or 1", start));
  data.decode.strip_leading_spaces = int32_t(start);
}

void read_decoder(const json& root, TokenizerData& data) {
  std::vector<const json*> parts;
  flatten(member(root, "decoder"), "decoders", parts);
  if (parts.empty()) throw Error("'decoder' is missing; expected ByteLevel, Metaspace or a Sequence");
  bool fused = false;
  for (const json* part : parts) {
    const std::string& type = text(*part, "type");
    if (type == "ByteLevel") {
      data.decode.byte_level = true;
    } else if (type == "Replace") {
      const TextPattern pattern = read_pattern(*part);
      if (pattern.is_regex || fused) throw Error("decoder 'Replace' is supported for a text, before 'Fuse'");
      data.decode.replacements.push_back({pattern.text, text(*part, "content")});
    } else if (type == "ByteFallback") {
      data.decode.byte_fallback = true;
    } else if (type == "Fuse") {
      fused = true;
    } else if (type == "Strip") {
      read_strip(*part, fused, data);
    } else if (type == "Metaspace") {
      data.decode.replacements.push_back({text(*part, "replacement"), " "});
      data.decode.drop_spaces_of_first_token = prepend_scheme(*part) != "never";
    } else {
      refuse("decoder", type,
             "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace or a Sequence of them");
    }
  }
}

using Ids = std::unordered_map<std::string, TokenId>;

// Ids may have holes, but not so many that a hostile number decides how much memory is taken.
size_t checked_id(const json& id, std::string_view content, size_t count) {
  const size_t limit = 2 * count + 65536;
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= limit) {
    throw Error(fmt::format("token '{}': id {}; expected a number below {}", content, id.dump(), limit));
  }
  return id.get<size_t>();
}

void put_token(TokenizerData& data, size_t id, const std::string& content, TokenType type) {
  if (id >= data.tokens.size()) {
    data.tokens.resize(id + 1);
    data.types.resize(id + 1, TokenType::unused);
  }
  if (!data.tokens[id].empty() && data.tokens[id] != content) {
    throw Error(fmt::format("token id {}: both '{}' and '{}'", id, data.tokens[id], content));
  }
  data.tokens[id] = content;
  data.types[id] = type;
}

Ids ids_of(const TokenizerData& data) {
  Ids ids;
  ids.reserve(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (!data.tokens[id].empty()) ids.emplace(data.tokens[id], TokenId(id));
  }
  return ids;
}

TokenId id_of(const Ids& ids, const std::string& content, std::string_view what) {
  const auto found = ids.find(content);
  if (found == ids.end()) throw Error(fmt::format("{} '{}' is not in the vocabulary", what, content));
  return found->second;
}

// "left right" or ["left", "right"].
std::pair<std::string, std::string> read_merge(const json& merge, size_t rank) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0], merge[1]};
  }
  if (merge.is_string()) {
    const auto& both = merge.get_ref<const std::string&>();
    const size_t space = both.find(' ');
    if (space != std::string::npos && both.find(' ', space + 1) == std::string::npos) {
      return {both.substr(0, space), both.substr(space + 1)};
    }
  }
  throw Error(fmt::format("merge {}: {}; expected two pieces", rank, merge.dump()));
}

void read_model(const json& root, TokenizerData& data) {
  const json& model = member(root, "model");
  if (!model.is_object()) throw Error("'model' is missing");
  // Files from before the field existed are BPE when they have merges.
  const std::string type =
      member(model, "type").is_null() && member(model, "merges").is_array() ? "BPE" : text(model, "type");
  if (type != "BPE") refuse("model", type, "BPE");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json& value = member(model, affix);
    if (!value.is_null() && value != "") refuse("model: " + std::string(affix), value.dump(), "none");
  }
  if (const json& dropout = member(model, "dropout"); !dropout.is_null() && dropout != 0.0) {
    refuse("model: dropout", dropout.dump(), "none");
  }
  data.byte_fallback = flag(model, "byte_fallback", false);
  data.fuse_unknown = flag(model, "fuse_unk", false);
  data.ignore_merges = flag(model, "ignore_merges", false);

  const json& vocab = member(model, "vocab");
  if (!vocab.is_object() || vocab.empty()) throw Error("model: 'vocab' is missing or empty");
  for (const auto& [content, id] : vocab.items()) {
    if (content.empty()) continue;  // nothing in a text is spelt so
    const bool is_byte = data.byte_fallback && fallback_byte(content);
    put_token(data, checked_id(id, content, vocab.size()), content,
              is_byte ? TokenType::byte : TokenType::normal);
  }
  const Ids ids = ids_of(data);
  if (const json& unknown = member(model, "unk_token"); !unknown.is_null()) {
    data.unknown = id_of(ids, text(model, "unk_token"), "model: unk_token");
    data.types[size_t(*data.unknown)] = TokenType::unknown;
  }
  const json& merges = list(model, "merges");
  data.merges.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto [left, right] = read_merge(merges[rank], rank);
    const std::string what = fmt::format("merge {}:", rank);
    data.merges.push_back({id_of(ids, left, what), id_of(ids, right, what)});
  }
}

void read_added_token(const json& token, const json& id, const Ids& model_ids, TokenizerData& data) {
  const std::string& content = text(token, "content");
  if (content.empty()) return;
  const size_t at = checked_id(id, content, data.tokens.size());
  const auto in_model = model_ids.find(content);
  if (in_model != model_ids.end() && size_t(in_model->second) != at) {
    throw Error(
        fmt::format("added token '{}': id {}, but {} in the vocabulary", content, at, in_model->second));
  }
  AddedToken added;
  added.id = TokenId(at);
  added.special = flag(token, "special", false);
  added.normalized = flag(token, "normalized", !added.special);
  added.lstrip = flag(token, "lstrip", false);
  added.rstrip = flag(token, "rstrip", false);
  added.single_word = flag(token, "single_word", false);
  added.in_model = in_model != model_ids.end();
  const bool is_unknown = data.unknown && *data.unknown == added.id;
  put_token(data, at, content,
            is_unknown      ? TokenType::unknown
            : added.special ? TokenType::control
                            : TokenType::user_defined);
  std::erase_if(data.added, [&](const AddedToken& other) { return other.id == added.id; });
  data.added.push_back(added);
}

void sort_added(TokenizerData& data) {
  std::sort(data.added.begin(), data.added.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
}

// A BOS before the text in the template of the post-processor.
void read_post_processor(const json& root, TokenizerData& data) {
  std::vector<const json*> parts;
  flatten(member(root, "post_processor"), "processors", parts);
  for (const json* part : parts) {
    const std::string& type = text(*part, "type");
    if (type == "ByteLevel") continue;
    if (type != "TemplateProcessing") {
      refuse("post_processor", type, "ByteLevel, TemplateProcessing or a Sequence of them");
    }
    const json& single = list(*part, "single");
    if (single.empty() || !member(single[0], "SpecialToken").is_object()) continue;
    data.bos = id_of(ids_of(data), text(member(single[0], "SpecialToken"), "id"), "post_processor: token");
    data.adds_bos = true;
  }
}

// A token named as a text or as an object with its content.
std::optional<TokenId> named_token(const json& config, const char* key, const Ids& ids) {
  const json& value = member(config, key);
  const json& content = value.is_object() ? member(value, "content") : value;
  if (!content.is_string()) return std::nullopt;
  const auto found = ids.find(content.get_ref<const std::string&>());
  if (found == ids.end()) return std::nullopt;
  return found->second;
}

std::string read_chat_template(const json& config) {
  const json& value = member(config, "chat_template");
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return {};
  for (const json& entry : value) {
    if (member(entry, "name") == "default") return text(entry, "template");
  }
  return {};
}

// Tokens that the Python side adds to a tokenizer.model; those of tokenizer.json are in that file already.
void add_config_tokens(const json& config, TokenizerData& data) {
  const json& decoder = member(config, "added_tokens_decoder");
  if (!decoder.is_object()) return;
  const Ids model_ids = ids_of(data);
  std::map<uint64_t, const json*> by_id;
  for (const auto& [key, token] : decoder.items()) {
    uint64_t id = 0;
    const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (problem != std::errc() || end != key.data() + key.size()) {
      throw Error(fmt::format("added_tokens_decoder: '{}' is not a token id", key));
    }
    if (!model_ids.contains(text(token, "content"))) by_id.emplace(id, &token);
  }
  for (const auto& [id, token] : by_id) read_added_token(*token, json(id), model_ids, data);
  data.scores.resize(data.tokens.size());
  sort_added(data);
}

}  // namespace

void apply_tokenizer_config(TokenizerData& data, std::string_view tokenizer_config_json) {
  if (tokenizer_config_json.empty()) return;
  const json config = parse(tokenizer_config_json, "tokenizer_config.json");
  with_context("tokenizer_config.json", [&] {
    if (data.kind == TokenizerKind::spm) add_config_tokens(config, data);
    const Ids ids = ids_of(data);
    if (const auto bos = named_token(config, "bos_token", ids)) data.bos = bos;
    if (const auto eos = named_token(config, "eos_token", ids)) data.eos = eos;
    if (const auto padding = named_token(config, "pad_token", ids)) data.padding = padding;
    data.adds_bos = flag(config, "add_bos_token", data.adds_bos) && data.bos.has_value();
    if (std::string found = read_chat_template(config); !found.empty()) data.chat_template = std::move(found);
  });
}

void apply_generation_config(TokenizerData& data, std::string_view generation_config_json) {
  if (generation_config_json.empty()) return;
  const json config = parse(generation_config_json, "generation_config.json");
  const json& ids = member(config, "eos_token_id");
  for (const json& id : ids.is_array() ? ids : json::array({ids})) {
    if (id.is_null()) continue;
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= data.tokens.size()) {
      throw Error(fmt::format("generation_config.json: eos_token_id {}; the vocabulary has {} tokens",
                              id.dump(), data.tokens.size()));
    }
    add_end_token(data, id.get<TokenId>());
  }
}

TokenizerData read_tokenizer_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  TokenizerData data;
  with_context("tokenizer.json", [&] {
    const json root = parse(tokenizer_json, "");
    read_model(root, data);
    const Ids model_ids = ids_of(data);
    if (const json& added = member(root, "added_tokens"); added.is_array()) {
      for (const json& token : added) read_added_token(token, member(token, "id"), model_ids, data);
    }
    sort_added(data);
    read_normalizer(root, data);
    read_pre_tokenizer(root, data);
    read_decoder(root, data);
    read_post_processor(root, data);
  });
  apply_tokenizer_config(data, tokenizer_config_json);
  add_known_end_tokens(data);
  data.pre_name = gguf_pre_name(data);
  check_tokenizer(data);
  return data;
}

}  // namespace edgeq
