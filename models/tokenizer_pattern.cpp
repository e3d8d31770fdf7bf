// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <cstdint>

#include "core/error.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

// Steps that one match may take. Scanning a run of n characters and giving it back is some 2n steps, so the
// bound grows with the text; what it stops are exponential expressions.
constexpr uint32_t kMatchSteps = 10'000'000;
constexpr uint32_t kMatchHeapKib = 512 * 1024;

// PCRE2's \s also takes U+180E, its \w leaves out marks: the sets that Oniguruma means, inside [ ].
constexpr std::string_view kSpaceSet =
    "\\t-\\r\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
constexpr std::string_view kWordSet = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

// Rewrites one expression from Oniguruma's syntax into PCRE2's.
class Translator {
 public:
  explicit Translator(std::string_view source) : source_(source) {}

  std::string run() {
    while (at_ < source_.size()) {
      const char c = source_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_char();
      } else {
        plain_char();
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(fmt::format("expression '{}': {} is not supported", source_, what));
  }
  bool next_is(std::string_view text) const { return source_.substr(at_).starts_with(text); }
  void copy(size_t count) {
    out_ += source_.substr(at_, count);
    at_ += count;
  }

  void escape() {
    if (at_ + 1 >= source_.size()) refuse("a backslash at the end");
    const char c = source_[at_ + 1];
    switch (c) {
      case 's': return set(kSpaceSet, false);
      case 'S': return set(kSpaceSet, true);
      case 'w': return set(kWordSet, false);
      case 'W': return set(kWordSet, true);
      case 'p':
      case 'P': return property();
      // Hexadecimal digits, text segments and other things there; horizontal space and more here.
      case 'h':
      case 'H':
      case 'R':
      case 'X':
      case 'K':
      case 'y':
      case 'Y':
      case 'O':
      case 'N':
      case 'M':
      case 'C':
      case 'g':
      case 'k':
      case 'Q':
      case 'E':
      case 'G':
      case 'Z': refuse(fmt::format("\\{}", c));
      default: return copy(2);
    }
  }

  void set(std::string_view members, bool negated) {
    at_ += 2;
    if (in_class_) {
      if (negated) refuse("a negated \\S or \\W inside brackets");
      out_ += members;
    } else {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
    }
  }

  // A script's plain name means its extensions in PCRE2; Oniguruma means the script itself.
  void property() {
    const size_t close = source_.find('}', at_);
    if (at_ + 2 >= source_.size() || source_[at_ + 2] != '{' || close == std::string_view::npos) {
      refuse("a property without braces");
    }
    std::string_view name = source_.substr(at_ + 3, close - at_ - 3);
    const bool caret = name.starts_with('^');
    if (caret) name.remove_prefix(1);
    constexpr std::array<std::array<std::string_view, 2>, 8> kLong = {{{"Letter", "L"},
                                                                       {"Mark", "M"},
                                                                       {"Number", "N"},
                                                                       {"Punctuation", "P"},
                                                                       {"Symbol", "S"},
                                                                       {"Separator", "Z"},
                                                                       {"Other", "C"},
                                                                       {"Alphabetic", "Alphabetic"}}};
    std::string pcre_name = name.size() <= 2 ? std::string(name) : fmt::format("sc:{}", name);
    for (const auto& [text, category] : kLong) {
      if (name == text) pcre_name = category;
    }
    out_ += fmt::format("\\{}{{{}{}}}", source_[at_ + 1], caret ? "^" : "", pcre_name);
    at_ = close + 1;
  }

  void class_char() {
    if (next_is("[:")) {
      const size_t close = source_.find(":]", at_);
      if (close == std::string_view::npos) refuse("'[:' without ':]'");
      return copy(close + 2 - at_);
    }
    if (next_is("[")) refuse("a set inside a set");
    if (next_is("&&")) refuse("an intersection of sets");
    if (next_is("]") && at_ > class_start_) in_class_ = false;
    copy(1);
  }

  void plain_char() {
    if (next_is("[")) {
      in_class_ = true;
      copy(1);
      if (next_is("^")) copy(1);
      class_start_ = at_;
      return;
    }
    // Oniguruma reads "{1,3}+" as a repeated repeat, PCRE2 as a possessive one.
    if (next_is("}+")) refuse("'+' after '}'");
    if (next_is("(?") && !next_is("(?:") && !next_is("(?=") && !next_is("(?!") && !next_is("(?<") &&
        !next_is("(?>") && !next_is("(?i:") && !next_is("(?i)")) {
      refuse(fmt::format("the group '{}'", source_.substr(at_, 3)));
    }
    if (next_is("(*")) refuse("'(*'");
    copy(1);
  }

  std::string_view source_;
  std::string out_;
  size_t at_ = 0, class_start_ = 0;
  bool in_class_ = false;
};

std::string pcre2_text(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

template <auto free_function>
struct FreeWith {
  template <class T>
  void operator()(T* p) const {
    free_function(p);
  }
};
using Code = std::unique_ptr<pcre2_code, FreeWith<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, FreeWith<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, FreeWith<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, FreeWith<pcre2_match_data_free>>;

}  // namespace

struct Pattern::Compiled {
  std::string source;
  Code code;

  // One match from `start`; false when there is none.
  bool find(std::string_view text, size_t start, uint32_t options, pcre2_match_data* data,
            pcre2_match_context* context) const {
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    options |= PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(code.get(), subject, text.size(), start, options, data, context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      rc = pcre2_match(code.get(), subject, text.size(), start, options | PCRE2_NO_JIT, data, context);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    if (rc < 0) {
      throw Error(fmt::format("expression '{}': gave up at byte {} of a text of {}: {}", source, start,
                              text.size(), pcre2_text(rc)));
    }
    return true;
  }
};

Pattern::Pattern(std::string_view oniguruma) : compiled_(std::make_unique<Compiled>()) {
  compiled_->source = oniguruma;
  const std::string expression = Translator(oniguruma).run();
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE offset = 0;
  // Without PCRE2_NEVER_BACKSLASH_C a hostile expression could step into the middle of a character.
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                      &code, &offset, context.get()));
  if (!compiled_->code) throw Error(fmt::format("expression '{}': {}", oniguruma, pcre2_text(code)));
  // Fails where the machine has no just-in-time compiler; matching then interprets.
  pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);
}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

std::vector<TextRange> Pattern::find_all(std::string_view text) const {
  const MatchData data(pcre2_match_data_create(1, nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  const size_t steps = kMatchSteps + 8 * text.size();
  pcre2_set_match_limit(context.get(), uint32_t(std::min<size_t>(steps, UINT32_MAX)));
  pcre2_set_heap_limit(context.get(), kMatchHeapKib);

  std::vector<TextRange> found;
  size_t start = 0;
  while (start <= text.size() && compiled_->find(text, start, 0, data.get(), context.get())) {
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
    if (range[0] > range[1]) {  // only \K inside a lookahead does this
      throw Error(fmt::format("expression '{}': a match that ends before it starts", compiled_->source));
    }
    const bool empty = range[0] == range[1];
    if (empty && !found.empty() && found.back().end == range[1]) {
      start += start < text.size() ? first_char(text.substr(start)).length : 1;
      continue;
    }
    found.push_back({range[0], range[1]});
    start = range[1];
  }
  return found;
}

bool Pattern::matches_at_start(std::string_view text) const {
  const MatchData data(pcre2_match_data_create(1, nullptr));
  return compiled_->find(text, 0, PCRE2_ANCHORED, data.get(), nullptr);
}

}  // namespace edgeq
