// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/tokenizer_text.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> found(std::string_view expression, std::string_view text) {
  std::vector<std::string> out;
  for (const TextRange& r : Pattern(expression).find_all(text))
    out.emplace_back(text.substr(r.begin, r.end - r.begin));
  return out;
}

TEST(Pattern, SpaceIsUnicodeWhiteSpace) {
  EXPECT_THAT(found("\\s", "a\u2003\u0085b\u00A0"), ElementsAre("\u2003", "\u0085", "\u00A0"));
  EXPECT_THAT(found("\\s", "\u180E\u200B"), ElementsAre());  // PCRE2 itself counts the first
  EXPECT_THAT(found("[^\\s]", " \u180E"), ElementsAre("\u180E"));
}

TEST(Pattern, WordCharactersIncludeMarks) {
  EXPECT_THAT(found("\\w+", "e\u0301a, b"), ElementsAre("e\u0301a", "b"));
}

TEST(Pattern, ScriptsAreTheScriptItselfNotItsExtensions) {
  EXPECT_THAT(found("\\p{Han}", "河、"), ElementsAre("河"));  // U+3001 is used with Han but is not Han
}

TEST(Pattern, LookaheadEndsAtTheTextGiven) { EXPECT_THAT(found("\\s+(?!\\S)", "a  "), ElementsAre("  ")); }

TEST(Pattern, AnEmptyMatchNeverFollowsAnotherMatchDirectly) {
  EXPECT_EQ(Pattern("a*").find_all("baac").size(), 3u);  // at 0, "aa", at the end
}

TEST(Pattern, RefusesWhatWouldMeanSomethingElse) {
  for (const char* expression :
       {"[a[b]]", "[a&&b]", "a{1,2}+", "\\h", "(?m:.)", "[\\S]", "(*MARK:x)", "\\K", "\\pL"}) {
    EXPECT_THAT(error_of([&] { Pattern{expression}; }), HasSubstr("not supported")) << expression;
  }
  EXPECT_THAT(error_of([] { Pattern{"(a"}; }), HasSubstr("expression '(a'"));
  EXPECT_THAT(error_of([] { Pattern{"\\p{Nonsense}"}; }), HasSubstr("\\p{Nonsense}"));
}

TEST(Pattern, AnExponentialExpressionGivesUp) {
  const std::string text = std::string(40, 'a') + "b";
  EXPECT_THAT(error_of([&] { Pattern("(?:a|aa|a(?=a))+[cd]").find_all(text); }), HasSubstr("gave up"));
}

TEST(Utf8, BadSequencesBecomeOneReplacementPerMaximalPart) {
  const std::string bad = "\uFFFD";
  EXPECT_EQ(replace_invalid_utf8("a\xF0\x9F\x98z"), "a" + bad + "z");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), bad + bad + bad);
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), bad + bad);
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82"), bad);
  EXPECT_EQ(replace_invalid_utf8("\xF4\x90\x80\x80"), bad + bad + bad + bad);
  EXPECT_EQ(replace_invalid_utf8("क😀\n"), "क😀\n");
}

TEST(Utf8, TheByteAlphabetIsABijection) {
  for (int b = 0; b < 256; ++b) EXPECT_EQ(letters_to_bytes(byte_letter(uint8_t(b))), std::string(1, char(b)));
  EXPECT_EQ(byte_letter(' '), "Ġ");
  EXPECT_EQ(letters_to_bytes("河"), std::nullopt);
}

TEST(Utf8, FallbackTokensSpellAByte) {
  EXPECT_EQ(fallback_byte("<0x0A>"), 10);
  EXPECT_EQ(fallback_token(0xFF), "<0xFF>");
  for (const char* other : {"<0x0a>", "<0x0A", "0x0A", "<0xG0>", "<0x0A>>"})
    EXPECT_EQ(fallback_byte(other), std::nullopt);
}

}  // namespace
}  // namespace edgeq
