// SPDX-License-Identifier: Apache-2.0
// The tokenizer in GGUF metadata: "gpt2" (byte-level BPE) and "llama" (SentencePiece BPE).
#include <fmt/format.h>

#include <unordered_map>

#include "core/error.h"
#include "formats/gguf.h"
#include "models/tokenizer_data.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

std::optional<TokenId> find_token(const GgufFile& file, std::string_view name, size_t count) {
  const auto id = file.find_int(fmt::format("tokenizer.ggml.{}_token_id", name));
  // Some files hold 2^32 - 1 for "none".
  if (!id || *id == int64_t(UINT32_MAX) || *id == -1) return std::nullopt;
  if (*id < 0 || size_t(*id) >= count) {
    throw Error(fmt::format("tokenizer.ggml.{}_token_id {}: the vocabulary has {} tokens", name, *id, count));
  }
  return TokenId(*id);
}

void read_types(const GgufFile& file, TokenizerData& data) {
  const size_t count = data.tokens.size();
  const auto types = file.find_ints("tokenizer.ggml.token_type");
  if (types && types->size() != count) {
    throw Error(fmt::format("tokenizer.ggml.token_type: {} types for {} tokens", types->size(), count));
  }
  for (size_t i = 0; i < count; ++i) {
    const int64_t type = types ? (*types)[i] : int64_t(TokenType::normal);
    if (type < 1 || type > 6) {
      throw Error(fmt::format("tokenizer.ggml.token_type {}: found {}, expected 1 to 6", i, type));
    }
    data.types.push_back(TokenType(type));
  }
}

// Control and user-defined tokens are cut out of the raw text.
void mark_added(TokenizerData& data) {
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const TokenType type = data.types[i];
    const bool special = type == TokenType::control || type == TokenType::unknown;
    if ((!special && type != TokenType::user_defined) || data.tokens[i].empty()) continue;
    AddedToken token;
    token.id = TokenId(i);
    token.special = special;
    data.added.push_back(token);
  }
}

void read_bpe(const GgufFile& file, TokenizerData& data) {
  data.kind = TokenizerKind::bpe;
  const auto pre = file.find_string("tokenizer.ggml.pre");
  if (!pre) {
    throw Error("tokenizer.ggml.pre is missing: the pre-tokenizer is unknown")
        .set_hint("convert the model again with a current converter, or use its Hugging Face folder");
  }
  GgufPreTokenizer steps = gguf_pre_tokenizer(*pre);
  data.pre_name = *pre;
  data.normalize = std::move(steps.normalize);
  data.pre_tokenize = std::move(steps.pre_tokenize);
  data.ignore_merges = steps.ignore_merges;
  data.adds_bos = steps.adds_bos;
  data.decode.byte_level = true;
  std::unordered_map<std::string_view, TokenId> ids;
  for (size_t i = 0; i < data.tokens.size(); ++i) ids.insert_or_assign(data.tokens[i], TokenId(i));
  const auto merges = file.get_strings("tokenizer.ggml.merges");
  data.merges.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    // A piece may begin with a space's own spelling, so the separator is the first space after a character.
    const size_t space = merges[rank].find(' ', 1);
    if (space == std::string_view::npos) {
      throw Error(fmt::format("tokenizer.ggml.merges {}: '{}' is not two pieces", rank, merges[rank]));
    }
    const auto left = ids.find(merges[rank].substr(0, space)),
               right = ids.find(merges[rank].substr(space + 1));
    if (left == ids.end() || right == ids.end()) {
      throw Error(fmt::format("tokenizer.ggml.merges {}: '{}' names a piece that is not a token", rank,
                              merges[rank]));
    }
    data.merges.push_back({left->second, right->second});
  }
}

void read_spm(const GgufFile& file, TokenizerData& data) {
  data.kind = TokenizerKind::spm;
  data.adds_bos = true;
  const auto scores = file.get_floats("tokenizer.ggml.scores");
  data.scores.assign(scores.begin(), scores.end());
  if (file.has("tokenizer.ggml.precompiled_charsmap")) {
    throw Error("tokenizer.ggml.precompiled_charsmap is not supported with the model 'llama'");
  }
  NormalizeStep step;
  step.kind = NormalizeStep::Kind::sentencepiece;
  step.escape_whitespaces = true;
  step.add_dummy_prefix = file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  data.normalize.push_back(step);
  data.byte_fallback = data.decode.byte_fallback = true;
  data.decode.replacements.push_back({std::string(kMetaSpace), " "});
  data.decode.strip_leading_spaces = step.add_dummy_prefix;
}

}  // namespace

TokenizerData read_tokenizer_gguf(const GgufFile& file) {
  return with_context(file.path(), [&] {
    TokenizerData data;
    const auto tokens = file.get_strings("tokenizer.ggml.tokens");
    data.tokens.assign(tokens.begin(), tokens.end());
    read_types(file, data);
    const std::string_view model = file.get_string("tokenizer.ggml.model");
    if (model == "gpt2") {
      read_bpe(file, data);
    } else if (model == "llama") {
      read_spm(file, data);
    } else {
      throw Error(fmt::format("tokenizer.ggml.model '{}' is not supported; expected gpt2 or llama", model));
    }
    mark_added(data);
    const size_t count = data.tokens.size();
    data.unknown = find_token(file, "unknown", count);
    data.bos = find_token(file, "bos", count);
    data.eos = find_token(file, "eos", count);
    data.padding = find_token(file, "padding", count);
    data.adds_bos = file.find_bool("tokenizer.ggml.add_bos_token").value_or(data.adds_bos) && data.bos;
    for (const char* name : {"eot", "eom"}) {
      if (const auto id = find_token(file, name, count)) add_end_token(data, *id);
    }
    add_known_end_tokens(data);
    data.chat_template = file.find_string("tokenizer.chat_template").value_or("");
    check_tokenizer(data);
    return data;
  });
}

}  // namespace edgeq
