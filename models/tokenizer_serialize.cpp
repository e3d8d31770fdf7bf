// SPDX-License-Identifier: Apache-2.0
// The own form of a tokenizer: "EQTK", u32 version, then the fields of TokenizerData in order. Integers and
// floats are little endian, a string is a LEB128 length and its bytes, a list a LEB128 count and its items.
#include <fmt/format.h>

#include <cstring>
#include <type_traits>

#include "core/error.h"
#include "models/tokenizer_data.h"

namespace edgeq {
namespace {

constexpr std::string_view kMagic = "EQTK";
constexpr uint32_t kVersion = 1;

class Writer {
 public:
  std::vector<std::byte> take() { return std::move(bytes_); }

  void raw(std::string_view text) {
    const auto data = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), data, data + text.size());
  }
  void count(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(std::byte(value | 0x80));
    bytes_.push_back(std::byte(value));
  }

  void operator()(const std::string& text) { count(text.size()), raw(text); }
  void operator()(const std::optional<TokenId>& id) { count(id ? uint64_t(*id) + 1 : 0); }
  template <class T>
  requires std::is_integral_v<T> || std::is_enum_v<T>
  void operator()(const T& value) { count(uint64_t(value)); }
  void operator()(const float& value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    for (int shift = 0; shift < 32; shift += 8) bytes_.push_back(std::byte(bits >> shift));
  }
  template <class T>
  void operator()(const std::vector<T>& list) {
    count(list.size());
    for (const T& item : list) transfer(*this, item);
  }

 private:
  std::vector<std::byte> bytes_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  bool at_end() const { return bytes_.empty(); }

  std::string_view raw(size_t size) {
    if (size > bytes_.size()) {
      throw Error(fmt::format("serialized tokenizer: {} more bytes needed, {} left", size, bytes_.size()));
    }
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_ = bytes_.subspan(size);
    return text;
  }
  uint64_t count() {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      const auto byte = uint8_t(raw(1).front());
      value |= uint64_t(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    throw Error("serialized tokenizer: a number of more than 63 bits");
  }

  void operator()(std::string& text) { text = raw(count()); }
  void operator()(std::optional<TokenId>& id) {
    if (const uint64_t value = count(); value > 0) id = TokenId(limited(value - 1, INT32_MAX));
  }
  template <class T>
  requires std::is_integral_v<T> || std::is_enum_v<T>
  void operator()(T& value) { value = T(limited(count(), limit_of<T>())); }
  void operator()(float& value) {
    const std::string_view text = raw(4);
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i) bits |= uint32_t(uint8_t(text[i])) << (8 * i);
    std::memcpy(&value, &bits, sizeof value);
  }
  template <class T>
  void operator()(std::vector<T>& list) {
    const uint64_t size = count();
    // Every item takes at least a byte, so a lying count is caught before memory is taken for it.
    if (size > bytes_.size()) {
      throw Error(fmt::format("serialized tokenizer: a list of {} items in {} bytes", size, bytes_.size()));
    }
    list.clear();
    for (uint64_t i = 0; i < size; ++i) transfer(*this, list.emplace_back());
  }

 private:
  template <class T>
  static constexpr uint64_t limit_of() {
    if constexpr (std::is_same_v<T, bool>) return 1;
    if constexpr (std::is_same_v<T, TokenizerKind>) return uint64_t(TokenizerKind::spm);
    if constexpr (std::is_same_v<T, TokenType>) return uint64_t(TokenType::byte);
    if constexpr (std::is_same_v<T, NormalizeStep::Kind>) return uint64_t(NormalizeStep::Kind::sentencepiece);
    if constexpr (std::is_same_v<T, PreTokenizeStep::Kind>) return uint64_t(PreTokenizeStep::Kind::alphabet);
    if constexpr (std::is_same_v<T, SplitBehavior>) return uint64_t(SplitBehavior::contiguous);
    return INT32_MAX;
  }
  static uint64_t limited(uint64_t value, uint64_t limit) {
    if (value > limit)
      throw Error(fmt::format("serialized tokenizer: {} where at most {} may be", value, limit));
    return value;
  }

  std::span<const std::byte> bytes_;
};

// One list of fields serves both directions; Item is const when writing.
template <class Io, class Item>
void transfer(Io& io, Item& item) {
  using T = std::remove_const_t<Item>;
  const auto all = [&](auto&... fields) { (io(fields), ...); };
  if constexpr (std::is_same_v<T, MergePair>) {
    all(item.left, item.right);
  } else if constexpr (std::is_same_v<T, AddedToken>) {
    all(item.id, item.special, item.normalized, item.lstrip, item.rstrip, item.single_word, item.in_model);
  } else if constexpr (std::is_same_v<T, TextPattern>) {
    all(item.text, item.is_regex);
  } else if constexpr (std::is_same_v<T, NormalizeStep>) {
    all(item.kind);
    transfer(io, item.pattern);
    all(item.content, item.charsmap, item.add_dummy_prefix, item.remove_extra_whitespaces,
        item.escape_whitespaces);
  } else if constexpr (std::is_same_v<T, PreTokenizeStep>) {
    all(item.kind);
    transfer(io, item.pattern);
    all(item.behavior, item.invert, item.content, item.first_only);
  } else if constexpr (std::is_same_v<T, DecodeRules::Replacement>) {
    all(item.from, item.to);
  } else if constexpr (std::is_same_v<T, DecodeRules>) {
    all(item.byte_level, item.byte_fallback, item.replacements, item.strip_leading_spaces,
        item.drop_spaces_of_first_token);
  } else if constexpr (std::is_same_v<T, TokenizerData>) {
    all(item.kind, item.tokens, item.types, item.scores, item.merges, item.added, item.normalize,
        item.pre_tokenize, item.pre_name);
    transfer(io, item.decode);
    all(item.byte_fallback, item.fuse_unknown, item.ignore_merges, item.unknown, item.bos, item.eos,
        item.padding, item.end_tokens, item.adds_bos, item.chat_template);
  } else {
    io(item);
  }
}

}  // namespace

std::vector<std::byte> serialize_tokenizer(const TokenizerData& data) {
  Writer out;
  out.raw(kMagic);
  out(kVersion);
  transfer(out, data);
  return out.take();
}

TokenizerData deserialize_tokenizer(std::span<const std::byte> bytes) {
  Reader in(bytes);
  if (in.raw(kMagic.size()) != kMagic) throw Error("serialized tokenizer: does not start with \"EQTK\"");
  uint32_t version = 0;
  in(version);
  if (version != kVersion) {
    throw Error(fmt::format("serialized tokenizer: version {}; this build reads {}", version, kVersion));
  }
  TokenizerData data;
  transfer(in, data);
  if (!in.at_end()) throw Error("serialized tokenizer: bytes after the end");
  check_tokenizer(data);
  return data;
}

}  // namespace edgeq
