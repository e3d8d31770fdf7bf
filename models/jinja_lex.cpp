// SPDX-License-Identifier: Apache-2.0
#include "models/jinja_lex.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "models/tokenizer_text.h"

namespace edgeq::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(replace_all(source, "\r\n", "\n")) {
    if (source_.ends_with('\n')) source_.pop_back();  // keep_trailing_newline is off
    rest_ = source_;
  }

  std::vector<Word> run() {
    while (!rest_.empty()) {
      size_t tag = rest_.find('{');
      while (tag != std::string_view::npos && !opens_tag(tag)) tag = rest_.find('{', tag + 1);
      const bool at_end = tag == std::string_view::npos;
      text(rest_.substr(0, tag), at_end);
      if (at_end) break;
      take(tag);
      this->tag();
    }
    push(Word::Kind::end, "");
    return std::move(words_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(fmt::format("line {}: {}", line_, what));
  }
  bool opens_tag(size_t at) const {
    return at + 1 < rest_.size() && (rest_[at + 1] == '{' || rest_[at + 1] == '%' || rest_[at + 1] == '#');
  }
  std::string_view take(size_t count) {
    const std::string_view taken = rest_.substr(0, count);
    line_ += int(std::count(taken.begin(), taken.end(), '\n'));
    rest_.remove_prefix(taken.size());
    return taken;
  }
  void push(Word::Kind kind, std::string_view text) { words_.push_back({kind, std::string(text), line_}); }

  // The text before a tag; the sign after the tag's brace decides what stays of its end.
  void text(std::string_view whole, bool at_end) {
    std::string_view kept = whole;
    if (!at_end) {
      const std::string_view tag = rest_.substr(whole.size());
      const char sign = tag.size() > 2 ? tag[2] : ' ';
      if (sign == '-') {
        kept.remove_suffix(trailing_white_space(kept));
      } else if (tag[1] != '{' && sign != '+') {
        const size_t newline = kept.rfind('\n');
        const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
        if ((start > 0 || line_starts_) && leading_white_space(kept.substr(start)) == kept.size() - start) {
          kept = kept.substr(0, start);
        }
      }
    }
    if (!kept.empty()) push(Word::Kind::text, kept);
    if (at_end) take(whole.size());
    line_starts_ = false;
  }

  void tag() {
    const char kind = rest_[1];
    take(2);
    if (!rest_.empty() && (rest_[0] == '-' || rest_[0] == '+')) take(1);
    if (kind == '#') return comment();
    push(kind == '{' ? Word::Kind::open_output : Word::Kind::open_block, "");
    const std::string_view close = kind == '{' ? "}}" : "%}";
    int depth = 0;
    while (true) {
      take(leading_white_space(rest_));
      if (rest_.empty()) refuse("a tag without an end");
      const bool signed_close = rest_[0] == '-' || rest_[0] == '+';
      if (depth == 0 && rest_.substr(signed_close).starts_with(close)) break;
      if (rest_[0] == '{' || rest_[0] == '[' || rest_[0] == '(') ++depth;
      if (rest_[0] == '}' || rest_[0] == ']' || rest_[0] == ')') --depth;
      word();
    }
    push(Word::Kind::close, "");
    finish(close, kind == '%');
  }

  void comment() {
    const size_t close = rest_.find("#}");
    if (close == std::string_view::npos) refuse("a comment without an end");
    take(close > 0 && (rest_[close - 1] == '-' || rest_[close - 1] == '+') ? close - 1 : close);
    finish("#}", true);
  }

  // The closing brace, and the white space after it that goes with it.
  void finish(std::string_view close, bool trims_newline) {
    char sign = ' ';
    if (!rest_.starts_with(close)) sign = take(1)[0];
    take(close.size());
    if (sign == '-') {
      line_starts_ = rest_.substr(0, leading_white_space(rest_)).ends_with('\n');
      take(leading_white_space(rest_));
    } else if (trims_newline && sign != '+' && rest_.starts_with('\n')) {
      take(1);
      line_starts_ = true;
    }
  }

  void word() {
    if (rest_[0] == '\'' || rest_[0] == '"') return string();
    if (is_digit(rest_[0])) return number();
    if (is_name_char(rest_[0])) {
      const auto end = std::find_if_not(rest_.begin(), rest_.end(), is_name_char);
      return push(Word::Kind::name, take(size_t(end - rest_.begin())));
    }
    constexpr std::array<std::string_view, 29> kSigns = {
        "==", "!=", "<=", ">=", "//", "**", "+", "-", "*", "/", "%", "~", "<", ">", "=",
        "(",  ")",  "[",  "]",  "{",  "}",  ",", ".", ":", "|", "?", "!", ";", "&"};
    for (const std::string_view sign : kSigns) {
      if (rest_.starts_with(sign)) return push(Word::Kind::sign, take(sign.size()));
    }
    refuse(fmt::format("'{}' is not part of an expression", rest_.substr(0, first_char(rest_).length)));
  }

  void number() {
    size_t size = 0;
    bool real = false;
    while (size < rest_.size() && (is_digit(rest_[size]) || rest_[size] == '_')) ++size;
    if (size + 1 < rest_.size() && rest_[size] == '.' && is_digit(rest_[size + 1])) {
      real = true;
      for (++size; size < rest_.size() && is_digit(rest_[size]);) ++size;
    }
    const std::string digits = replace_all(rest_.substr(0, size), "_", "");
    if (digits.size() > 18) refuse("a number of more than 18 digits");
    push(real ? Word::Kind::real : Word::Kind::integer, digits);
    take(size);
  }

  void string() {
    const char quote = rest_[0];
    std::string value;
    size_t at = 1;
    for (; at < rest_.size() && rest_[at] != quote; ++at) {
      if (rest_[at] != '\\') {
        value += rest_[at];
      } else if (++at < rest_.size()) {
        at += escape(rest_.substr(at), value);
      }
    }
    if (at >= rest_.size()) refuse("a string without an end");
    push(Word::Kind::string, value);
    take(at + 1);
  }

  // What follows a backslash; returns how many characters after the first it took.
  size_t escape(std::string_view text, std::string& out) const {
    constexpr std::string_view kFrom = "ntrabfv0\\'\"", kTo("\n\t\r\a\b\f\v\0\\'\"", 11);
    if (const size_t known = kFrom.find(text[0]); known != std::string_view::npos) {
      out += kTo[known];
      return 0;
    }
    const size_t digits = text[0] == 'x' ? 2 : text[0] == 'u' ? 4 : text[0] == 'U' ? 8 : 0;
    if (digits == 0) {  // Python keeps the backslash of an escape that it does not know
      out += '\\';
      out += text[0];
      return 0;
    }
    char32_t code = 0;
    for (size_t i = 1; i <= digits; ++i) {
      const char c = i < text.size() ? text[i] : '?';
      const int digit = is_digit(c)            ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) refuse("an unfinished escape");
      code = code * 16 + char32_t(digit);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) refuse("an escape that is no character");
    append_utf8(out, code);
    return digits;
  }

  std::string source_;
  std::string_view rest_;
  std::vector<Word> words_;
  int line_ = 1;
  bool line_starts_ = true;  // nothing but removed white space stands before on this line
};

}  // namespace

std::vector<Word> lex(std::string_view source) { return Lexer(source).run(); }

}  // namespace edgeq::jinja
