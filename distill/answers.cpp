// SPDX-License-Identifier: Apache-2.0
#include "distill/answers.h"

#include <initializer_list>
#include <numeric>
#include <string>

namespace edgeq {
namespace {

using Wide = __int128;
constexpr Wide kLargest = INT64_MAX;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// numerator / denominator of what has been read so far; `exact` is lost when it outgrows 64 bits.
struct Number {
  Wide numerator = 0, denominator = 1;
  bool exact = true;

  void scale(Wide factor, Wide more, Wide divisor) {
    if (!exact) return;
    numerator = numerator * factor + more;
    denominator *= divisor;
    exact = numerator <= kLargest && denominator <= kLargest;
  }
};

class Reader {
 public:
  Reader(std::string_view text, size_t at) : text_(text), at_(at) {}

  size_t at() const { return at_; }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  // "1234", "1,234,567", "3.5", ".5", "1e3".
  Number decimal() {
    Number number;
    while (is_digit(peek()) || group_follows()) {
      if (peek() == ',') ++at_;
      digit(number, 1);
    }
    if (peek() == '.' && is_digit(peek(1)))
      for (++at_; is_digit(peek());) digit(number, 10);
    exponent(number);
    return number;
  }

  // "/4" behind a numerator: what it is divided by. Not for dates ("3/4/2020") or a zero.
  std::optional<Wide> divisor() {
    if (peek() != '/' || !is_digit(peek(1))) return std::nullopt;
    Reader ahead(text_, at_ + 1);
    const Number number = ahead.decimal();
    if (!number.exact || number.denominator != 1 || number.numerator == 0 || ahead.peek() == '/')
      return std::nullopt;
    at_ = ahead.at_;
    return number.numerator;
  }

  // " 1/2" behind a whole number.
  std::optional<Number> mixed_part() {
    if (peek() != ' ' || !is_digit(peek(1))) return std::nullopt;
    Reader ahead(text_, at_ + 1);
    Number part = ahead.decimal();
    const std::optional<Wide> divisor = ahead.divisor();
    if (!part.exact || part.denominator != 1 || !divisor || part.numerator >= *divisor) return std::nullopt;
    at_ = ahead.at_;
    part.denominator = *divisor;
    return part;
  }

 private:
  bool group_follows() const {
    return peek() == ',' && at_ > 0 && is_digit(text_[at_ - 1]) && is_digit(peek(1)) && is_digit(peek(2)) &&
           is_digit(peek(3)) && !is_digit(peek(4));
  }
  void digit(Number& number, Wide divisor) { number.scale(10, text_[at_++] - '0', divisor); }
  void exponent(Number& number) {
    if (peek() != 'e' && peek() != 'E') return;
    const size_t sign = peek(1) == '-' || peek(1) == '+' ? 1 : 0;
    size_t digits = 0;
    while (is_digit(peek(1 + sign + digits))) ++digits;
    if (digits == 0 || digits > 2 || is_word(peek(1 + sign + digits))) return;
    const int power = std::stoi(std::string(text_.substr(at_ + 1 + sign, digits)));
    for (int i = 0; i < power; ++i) number.scale(peek(1) == '-' ? 1 : 10, 0, peek(1) == '-' ? 10 : 1);
    at_ += 1 + sign + digits;
  }

  std::string_view text_;
  size_t at_;
};

struct Found {
  std::optional<Answer> answer;  // nothing: a number too large
  size_t end = 0;
};

// Whether a minus, before or behind a currency sign, stands directly before `at`.
bool negative_before(std::string_view text, size_t at) {
  const auto drop = [&](std::initializer_list<std::string_view> signs) {
    for (const std::string_view sign : signs) {
      if (!text.substr(0, at).ends_with(sign)) continue;
      at -= sign.size();
      return true;
    }
    return false;
  };
  const std::initializer_list<std::string_view> minus{"-", "\u2212"}, currency{"$", "\u20ac", "\u00a3"};
  if (drop(minus)) {
    drop(currency);
  } else if (!drop(currency) || !drop(minus)) {
    return false;
  }
  return at == 0 || !(is_digit(text[at - 1]) || is_word(text[at - 1]) || text[at - 1] == ')');
}

bool begins_number(std::string_view text, size_t at) {
  const bool point = text[at] == '.' && at + 1 < text.size() && is_digit(text[at + 1]);
  if (!is_digit(text[at]) && !point) return false;
  return at == 0 || !(is_word(text[at - 1]) || is_digit(text[at - 1]));
}

Found number_at(std::string_view text, size_t at) {
  Reader reader(text, at);
  Number number = reader.decimal();
  const bool in_date = at > 0 && text[at - 1] == '/';
  if (const auto divisor = in_date ? std::nullopt : reader.divisor()) {
    number.scale(1, 0, *divisor);
  } else if (number.exact && number.denominator == 1) {
    if (const auto part = reader.mixed_part())
      number.scale(part->denominator, part->numerator, part->denominator);
  }
  if (!number.exact) return {std::nullopt, reader.at()};
  const auto numerator = int64_t(number.numerator), denominator = int64_t(number.denominator);
  const int64_t common = std::gcd(numerator, denominator);
  const int64_t sign = negative_before(text, at) ? -1 : 1;
  return {Answer{sign * numerator / common, denominator / common}, reader.at()};
}

enum class Which : uint8_t { first, last };

std::optional<Answer> number_of(std::string_view text, Which which) {
  std::optional<Answer> found;
  for (size_t at = 0; at < text.size();) {
    if (!begins_number(text, at)) {
      ++at;
      continue;
    }
    const Found number = number_at(text, at);
    found = number.answer;
    if (which == Which::first) break;
    at = number.end;
  }
  return found;
}

}  // namespace

std::optional<Answer> checkable_answer(std::string_view text) {
  constexpr std::string_view kMark = "####";
  const size_t mark = text.rfind(kMark);
  if (mark == std::string_view::npos) return number_of(text, Which::last);
  std::string_view line = text.substr(mark + kMark.size());
  line = line.substr(0, line.find('\n'));
  return number_of(line, Which::first);
}

}  // namespace edgeq
