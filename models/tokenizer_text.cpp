// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_text.h"

#include <fmt/format.h>

#include <unordered_map>

namespace edgeq {
namespace {

struct Lead {
  uint8_t length;                   // of the whole sequence, 0 for a byte that starts none
  uint8_t second_low, second_high;  // what the second byte may be: excludes overlong forms and surrogates
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte < 0xF0) return {3, uint8_t(byte == 0xE0 ? 0xA0 : 0x80), uint8_t(byte == 0xED ? 0x9F : 0xBF)};
  if (byte < 0xF5) return {4, uint8_t(byte == 0xF0 ? 0x90 : 0x80), uint8_t(byte == 0xF4 ? 0x8F : 0xBF)};
  return {0, 0, 0};
}

struct Alphabet {
  std::array<std::string, 256> letters;
  std::unordered_map<char32_t, uint8_t> bytes;

  Alphabet() {
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t code = printable ? char32_t(b) : next++;
      append_utf8(letters[size_t(b)], code);
      bytes.emplace(code, uint8_t(b));
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet value;
  return value;
}

}  // namespace

Utf8Char first_char(std::string_view text) {
  const auto byte = [&](size_t i) { return uint8_t(text[i]); };
  const Lead lead = lead_of(byte(0));
  if (lead.length == 0) return {};
  if (lead.length == 1) return {byte(0), 1, true};
  char32_t code = byte(0) & (0x7F >> lead.length);
  for (uint8_t i = 1; i < lead.length; ++i) {
    const uint8_t low = i == 1 ? lead.second_low : 0x80, high = i == 1 ? lead.second_high : 0xBF;
    if (i >= text.size() || byte(i) < low || byte(i) > high) return {0xFFFD, i, false};
    code = code << 6 | (byte(i) & 0x3F);
  }
  return {code, lead.length, true};
}

std::string_view as_valid_utf8(std::string_view text, std::string& storage) {
  size_t good = 0;
  while (good < text.size()) {
    const Utf8Char c = first_char(text.substr(good));
    if (!c.valid) break;
    good += c.length;
  }
  if (good == text.size()) return text;
  storage.assign(text.substr(0, good));
  while (good < text.size()) {
    const Utf8Char c = first_char(text.substr(good));
    append_utf8(storage, c.code);
    good += c.length;
  }
  return storage;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string storage;
  return std::string(as_valid_utf8(text, storage));
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](char32_t bits) { out += char(bits); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F)), put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

size_t leading_white_space(std::string_view text) {
  size_t n = 0;
  while (n < text.size()) {
    const Utf8Char c = first_char(text.substr(n));
    if (!is_white_space(c.code)) break;
    n += c.length;
  }
  return n;
}

size_t trailing_white_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t start = end - 1;
    while (start > 0 && (uint8_t(text[start]) & 0xC0) == 0x80) --start;
    if (!is_white_space(first_char(text.substr(start)).code)) break;
    end = start;
  }
  return text.size() - end;
}

const std::string& byte_letter(uint8_t byte) { return alphabet().letters[byte]; }

std::optional<uint8_t> letter_byte(char32_t code) {
  const auto found = alphabet().bytes.find(code);
  if (found == alphabet().bytes.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string> letters_to_bytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const Utf8Char c = first_char(text);
    const auto byte = letter_byte(c.code);
    if (!byte) return std::nullopt;
    bytes += char(*byte);
    text.remove_prefix(c.length);
  }
  return bytes;
}

std::optional<uint8_t> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return uint8_t(value);
}

std::string fallback_token(uint8_t byte) { return fmt::format("<0x{:02X}>", byte); }

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t start = 0;
  for (size_t at; (at = text.find(from, start)) != std::string_view::npos; start = at + from.size()) {
    out.append(text.substr(start, at - start)).append(to);
  }
  return out.append(text.substr(start));
}

}  // namespace edgeq
