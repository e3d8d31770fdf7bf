// SPDX-License-Identifier: Apache-2.0
// UTF-8 as the tokenizers need it, and the byte-level alphabet of GPT-2: each byte has a printable letter, so
// that any byte sequence can be a piece of text (space is "Ġ", newline is "Ċ").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace edgeq {

// What stands at the start of a text that is not empty.
struct Utf8Char {
  char32_t code = 0xFFFD;
  uint8_t length = 1;  // bytes; for a bad sequence its maximal valid prefix (Unicode 3.9, "best practice")
  bool valid = false;
};
Utf8Char first_char(std::string_view text);

// The text itself when it is valid, else with U+FFFD for each bad sequence, as Python's errors="replace".
std::string replace_invalid_utf8(std::string_view text);
// The same without a copy where nothing has to change: `storage` holds the result otherwise.
std::string_view as_valid_utf8(std::string_view text, std::string& storage);

void append_utf8(std::string& out, char32_t code);

// Unicode's White_Space property.
bool is_white_space(char32_t code);
// Bytes of white space that a valid text starts or ends with.
size_t leading_white_space(std::string_view text);
size_t trailing_white_space(std::string_view text);

// The letter of a byte in UTF-8, and back.
const std::string& byte_letter(uint8_t byte);
std::optional<uint8_t> letter_byte(char32_t code);
// Every letter by its byte; nullopt when a character is no letter of the alphabet.
std::optional<std::string> letters_to_bytes(std::string_view text);

// The byte that a fallback token spells: "<0x0A>" -> 10.
std::optional<uint8_t> fallback_byte(std::string_view token);
std::string fallback_token(uint8_t byte);

// Every `from` (not empty) by `to`.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

inline constexpr std::string_view kMetaSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's visible space

}  // namespace edgeq
