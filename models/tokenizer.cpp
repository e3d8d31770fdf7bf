// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "core/hash.h"
#include "models/chat_template.h"
#include "models/tokenizer_added.h"
#include "models/tokenizer_bpe.h"
#include "models/tokenizer_data.h"
#include "models/tokenizer_normalize.h"
#include "models/tokenizer_split.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

// Pieces longer than this seldom come twice; the Python package draws the line there too.
constexpr size_t kCachedPieceBytes = 256;

// The tokens of the pieces of one text that were met before.
class PieceCache {
 public:
  explicit PieceCache(const BpeModel& model) : model_(model) {}

  void encode(std::string_view piece, std::vector<TokenId>& out) {
    if (piece.size() > kCachedPieceBytes) return model_.encode(piece, out);
    const auto [entry, fresh] = seen_.try_emplace(std::string(piece));
    if (fresh) model_.encode(piece, entry->second);
    out.insert(out.end(), entry->second.begin(), entry->second.end());
  }

 private:
  const BpeModel& model_;
  std::unordered_map<std::string, std::vector<TokenId>> seen_;
};

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(TokenizerData from)
      : data(std::move(from)),
        model(data),
        normalizer(data.normalize, normalized),
        pre_tokenizer(data.pre_tokenize) {
    is_added.resize(data.tokens.size());
    is_special.resize(data.tokens.size());
    for (const AddedToken& token : data.added) {
      is_added[size_t(token.id)] = true;
      is_special[size_t(token.id)] = token.special;
      if (!token.normalized) raw.add(token, data.tokens[size_t(token.id)]);
    }
    // A token sought in normalized text is spelt as that text is. All are spelt before the first is added:
    // what is added, SentencePiece's normalizer leaves alone.
    for (const AddedToken& token : data.added) {
      if (token.normalized) spellings.emplace(token.id, spelling_of(token));
    }
    for (const AddedToken& token : data.added) {
      if (token.normalized && !spellings[token.id].empty()) normalized.add(token, spellings[token.id]);
    }
  }

  // SentencePiece's symbols are spelt in normalized form already.
  std::string spelling_of(const AddedToken& token) const {
    const std::string& text = data.tokens[size_t(token.id)];
    return data.kind == TokenizerKind::spm ? text : normalizer.run(text);
  }

  void encode_text(std::string_view text, bool starts_text, bool plain, PieceCache& cache,
                   std::vector<TokenId>& out) const {
    const std::string normal = normalizer.run(text);
    for (const AddedTokens::Piece& piece : normalized.cut(normal, plain)) {
      if (piece.token) {
        out.push_back(*piece.token);
        continue;
      }
      const bool starts = starts_text && piece.begin == 0;
      const TextPieces words = pre_tokenizer.run(normal.substr(piece.begin, piece.end - piece.begin), starts);
      for (size_t i = 0; i < words.ranges.size(); ++i) cache.encode(words[i], out);
    }
  }

  void check_id(TokenId token) const {
    if (token < 0 || size_t(token) >= data.tokens.size()) {
      throw Error(fmt::format("token {}: the vocabulary has {}", token, data.tokens.size()));
    }
  }

  std::string piece(TokenId token) const {
    const std::string& text = data.tokens[size_t(token)];
    if (data.decode.byte_fallback) {
      if (const auto byte = fallback_byte(text)) return std::string(1, char(*byte));
    }
    if (data.decode.byte_level && !is_added[size_t(token)]) {
      if (auto bytes = letters_to_bytes(text)) return std::move(*bytes);
    }
    const auto spelling = spellings.find(token);
    std::string out = spelling == spellings.end() || data.decode.byte_level ? text : spelling->second;
    for (const auto& [from, to] : data.decode.replacements) out = replace_all(out, from, to);
    return out;
  }

  TokenizerData data;
  AddedTokens raw, normalized;
  BpeModel model;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::vector<bool> is_added, is_special;
  std::unordered_map<TokenId, std::string> spellings;  // in normalized text
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  return Tokenizer(std::make_unique<Impl>(read_tokenizer_json(tokenizer_json, tokenizer_config_json)));
}

Tokenizer Tokenizer::from_sentencepiece(std::span<const std::byte> model) {
  return Tokenizer(std::make_unique<Impl>(read_sentencepiece(model)));
}

Tokenizer Tokenizer::from_gguf(const GgufFile& file) {
  return Tokenizer(std::make_unique<Impl>(read_tokenizer_gguf(file)));
}

Tokenizer Tokenizer::from_folder(const std::string& folder) {
  return Tokenizer(std::make_unique<Impl>(read_tokenizer_folder(folder)));
}

Tokenizer Tokenizer::deserialize(std::span<const std::byte> bytes) {
  return Tokenizer(std::make_unique<Impl>(deserialize_tokenizer(bytes)));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  std::string storage;
  text = as_valid_utf8(text, storage);
  const bool plain = special == SpecialTokens::plain;
  PieceCache cache(impl_->model);
  std::vector<TokenId> out;
  for (const AddedTokens::Piece& piece : impl_->raw.cut(text, plain)) {
    if (piece.token) {
      out.push_back(*piece.token);
    } else {
      impl_->encode_text(text.substr(piece.begin, piece.end - piece.begin), piece.begin == 0, plain, cache,
                         out);
    }
  }
  return out;
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, SpecialTokens special) const {
  const DecodeRules& rules = impl_->data.decode;
  std::string out;
  bool first = true;
  int32_t spaces_to_strip = rules.strip_leading_spaces;
  for (const TokenId token : tokens) {
    impl_->check_id(token);
    if (special == SpecialTokens::plain && impl_->is_special[size_t(token)]) continue;
    std::string piece = impl_->piece(token);
    if (first && rules.drop_spaces_of_first_token) std::erase(piece, ' ');
    first = false;
    if (out.empty() && spaces_to_strip > 0 && piece.starts_with(' ')) {
      piece.erase(0, 1);
      --spaces_to_strip;
    }
    out += piece;
  }
  return out;
}

std::string Tokenizer::piece(TokenId token) const {
  impl_->check_id(token);
  return impl_->piece(token);
}

int64_t Tokenizer::vocab_size() const { return int64_t(impl_->data.tokens.size()); }
std::optional<TokenId> Tokenizer::bos() const { return impl_->data.bos; }
const std::vector<TokenId>& Tokenizer::end_tokens() const { return impl_->data.end_tokens; }
bool Tokenizer::adds_bos() const { return impl_->data.adds_bos; }
const std::string& Tokenizer::chat_template() const { return impl_->data.chat_template; }

std::string Tokenizer::apply_chat_template(std::span<const ChatMessage> messages) const {
  const auto text = [&](std::optional<TokenId> id) {
    return id ? impl_->data.tokens[size_t(*id)] : std::string();
  };
  return render_chat(impl_->data.chat_template, messages, {text(impl_->data.bos), text(impl_->data.eos)});
}

std::vector<std::byte> Tokenizer::serialize() const { return serialize_tokenizer(impl_->data); }

std::string Tokenizer::hash() const {
  TokenizerData encoding = impl_->data;
  encoding.pre_name.clear();  // a name for steps that are here themselves
  encoding.decode = {};
  encoding.bos = encoding.eos = encoding.padding = std::nullopt;
  encoding.end_tokens.clear();
  encoding.adds_bos = false;
  encoding.chat_template.clear();
  return content_hash(serialize_tokenizer(encoding));
}

const TokenizerData& Tokenizer::data() const { return impl_->data; }

}  // namespace edgeq
