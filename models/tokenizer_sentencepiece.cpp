// SPDX-License-Identifier: Apache-2.0
// Reads SentencePiece's tokenizer.model: a protocol buffer (sentencepiece_model.proto), read here at the wire
// level because the library that is packaged for it cannot live in one process with LibTorch.
#include <fmt/format.h>

#include <cstring>

#include "core/error.h"
#include "models/tokenizer_data.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

// One message: fields in file order, each checked against the bytes that are there.
class Message {
 public:
  explicit Message(std::string_view bytes) : rest_(bytes) {}

  struct Field {
    uint64_t number = 0, varint = 0;  // varint: also the bits of a fixed field
    uint8_t wire = 0;
    std::string_view bytes;

    const Field& expect(uint8_t type) const {
      if (wire != type) throw Error(fmt::format("field {}: wire type {}, expected {}", number, wire, type));
      return *this;
    }
    bool flag() const { return expect(0).varint != 0; }
    uint64_t integer() const { return expect(0).varint; }
    std::string_view text() const { return expect(2).bytes; }
    float real() const {
      const auto bits = uint32_t(expect(5).varint);
      float value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
  };

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    field = {tag >> 3, 0, uint8_t(tag & 7), {}};
    switch (field.wire) {
      case 0: field.varint = varint(); break;
      case 1: field.varint = fixed(8); break;
      case 2: field.bytes = take(varint()); break;
      case 5: field.varint = fixed(4); break;
      default: throw Error(fmt::format("field {}: wire type {} does not exist", field.number, field.wire));
    }
    return true;
  }

 private:
  std::string_view take(uint64_t size) {
    if (size > rest_.size()) throw Error(fmt::format("{} bytes needed, {} left", size, rest_.size()));
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = uint8_t(take(1).front());
      value |= uint64_t(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    throw Error("a number of more than 64 bits");
  }
  uint64_t fixed(uint64_t size) {
    const std::string_view bytes = take(size);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size(); ++i) value |= uint64_t(uint8_t(bytes[i])) << (8 * i);
    return value;
  }

  std::string_view rest_;
};

void read_piece(std::string_view bytes, TokenizerData& data) {
  std::string text;
  float score = 0;
  uint64_t type = uint64_t(TokenType::normal);
  Message message(bytes);
  for (Message::Field field; message.next(field);) {
    if (field.number == 1) text = field.text();
    if (field.number == 2) score = field.real();
    if (field.number == 3) type = field.integer();
  }
  if (text.empty()) throw Error(fmt::format("piece {}: no text", data.tokens.size()));
  if (type < 1 || type > 6)
    throw Error(fmt::format("piece {}: type {}, expected 1 to 6", data.tokens.size(), type));
  data.tokens.push_back(std::move(text));
  data.scores.push_back(score);
  data.types.push_back(TokenType(type));
}

// What TrainerSpec says about encoding; ids of -1 mean "none".
struct Trainer {
  uint64_t model_type = 1;  // 1 unigram, 2 bpe, 3 word, 4 char
  bool byte_fallback = false, whitespace_as_suffix = false;
  int32_t unknown = 0, bos = 1, eos = 2, padding = -1;
};

Trainer read_trainer(std::string_view bytes) {
  Trainer trainer;
  Message message(bytes);
  for (Message::Field field; message.next(field);) {
    switch (field.number) {
      case 3: trainer.model_type = field.integer(); break;
      case 24: trainer.whitespace_as_suffix = field.flag(); break;
      case 35: trainer.byte_fallback = field.flag(); break;
      case 40: trainer.unknown = int32_t(field.integer()); break;
      case 41: trainer.bos = int32_t(field.integer()); break;
      case 42: trainer.eos = int32_t(field.integer()); break;
      case 43: trainer.padding = int32_t(field.integer()); break;
      default: break;
    }
  }
  return trainer;
}

NormalizeStep read_normalizer(std::string_view bytes) {
  NormalizeStep step;
  step.kind = NormalizeStep::Kind::sentencepiece;
  step.add_dummy_prefix = step.remove_extra_whitespaces = step.escape_whitespaces = true;
  Message message(bytes);
  for (Message::Field field; message.next(field);) {
    if (field.number == 2) step.charsmap = field.text();
    if (field.number == 3) step.add_dummy_prefix = field.flag();
    if (field.number == 4) step.remove_extra_whitespaces = field.flag();
    if (field.number == 5) step.escape_whitespaces = field.flag();
  }
  return step;
}

void apply_trainer(const Trainer& trainer, TokenizerData& data) {
  if (trainer.model_type != 2) {
    constexpr std::string_view kNames[] = {"?", "unigram", "bpe", "word", "char"};
    throw Error(fmt::format("model type {} is not supported; expected bpe",
                            trainer.model_type < 5 ? kNames[trainer.model_type] : "?"));
  }
  if (trainer.whitespace_as_suffix) throw Error("treat_whitespace_as_suffix is not supported");
  data.byte_fallback = data.decode.byte_fallback = trainer.byte_fallback;
  const auto id = [&](int32_t value) {
    return value >= 0 && size_t(value) < data.tokens.size() ? std::optional<TokenId>(value) : std::nullopt;
  };
  data.unknown = id(trainer.unknown);
  data.bos = id(trainer.bos);
  data.eos = id(trainer.eos);
  data.padding = id(trainer.padding);
  data.adds_bos = data.bos.has_value();  // as the Llama tokenizers made of such files do
}

// Control tokens are recognised in raw text (when asked for), user-defined symbols in normalized text.
void mark_added(TokenizerData& data) {
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    AddedToken token;
    token.id = TokenId(i);
    token.special = data.types[i] == TokenType::control || data.types[i] == TokenType::unknown;
    token.normalized = data.types[i] == TokenType::user_defined;
    if (token.special || token.normalized) data.added.push_back(token);
  }
}

}  // namespace

TokenizerData read_sentencepiece(std::span<const std::byte> model) {
  return with_context("tokenizer.model", [&] {
    TokenizerData data;
    data.kind = TokenizerKind::spm;
    Trainer trainer;
    NormalizeStep normalizer = read_normalizer({});
    Message message({reinterpret_cast<const char*>(model.data()), model.size()});
    for (Message::Field field; message.next(field);) {
      if (field.number == 1) read_piece(field.text(), data);
      if (field.number == 2) trainer = read_trainer(field.text());
      if (field.number == 3) normalizer = read_normalizer(field.text());
    }
    apply_trainer(trainer, data);
    mark_added(data);
    data.decode.replacements.push_back({std::string(kMetaSpace), " "});
    data.decode.strip_leading_spaces =
        normalizer.remove_extra_whitespaces ? INT32_MAX : normalizer.add_dummy_prefix;
    data.normalize.push_back(std::move(normalizer));
    add_known_end_tokens(data);
    check_tokenizer(data);
    return data;
  });
}

}  // namespace edgeq
