// SPDX-License-Identifier: Apache-2.0
// On the tokenizer that the repository carries, and on small ones.
#include "pruning/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "models/tokenizer.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kTiny = std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama";

Tokenizer tokenizer_of(const TokenizerData& data) {
  return Tokenizer::deserialize(serialize_tokenizer(data));
}

struct Sample {
  Tokenizer whole = Tokenizer::from_folder(kTiny);
  std::string text = read_text_file(kTiny + "/heldout.txt").substr(0, 20000);
  std::vector<TokenId> tokens = whole.encode(text);

  std::vector<int64_t> counts() const {
    std::vector<int64_t> counts(size_t(whole.vocab_size()), 0);
    for (const TokenId token : tokens) ++counts[size_t(token)];
    return counts;
  }
  std::vector<TokenId> keep(std::string_view cut) const {
    return tokens_to_keep(whole.data(), whole.vocab_size(), counts(), parse_vocabulary_cut(cut));
  }
};

TEST(Vocabulary, ATextWhoseTokensAllStayIsCutTheSame) {
  const Sample s;
  const std::vector<TokenId> kept = s.keep("unused");
  EXPECT_LT(std::ssize(kept), s.whole.vocab_size());
  const Tokenizer trimmed = tokenizer_of(trim_tokenizer(s.whole.data(), kept));
  EXPECT_EQ(trimmed.vocab_size(), std::ssize(kept));
  std::vector<TokenId> back;
  for (const TokenId token : trimmed.encode(s.text)) back.push_back(kept[size_t(token)]);
  EXPECT_EQ(back, s.tokens);
}

TEST(Vocabulary, AnyTextIsStillEncodedWithoutLoss) {
  const Sample s;
  for (const char* cut : {"unused", "0.3", "0.7"}) {
    const Tokenizer trimmed = tokenizer_of(trim_tokenizer(s.whole.data(), s.keep(cut)));
    for (const std::string& text : {s.text, read_text_file(kTiny + "/calibration.txt").substr(0, 5000),
                                    std::string("zyx \xE2\x82\xAC\n\t\xF0\x9F\x98\x80 42")})
      EXPECT_EQ(trimmed.decode(trimmed.encode(text, SpecialTokens::plain)), text) << cut;
    const bool more = trimmed.encode(s.text).size() > s.tokens.size();
    EXPECT_TRUE(more || std::string_view(cut) != "0.7") << "what was cut is in the text";
    EXPECT_FALSE(more && std::string_view(cut) == "unused");
  }
}

TEST(Vocabulary, AShareIsMetByTheLeastFrequent) {
  const Sample s;
  const std::vector<TokenId> kept = s.keep("0.25");
  EXPECT_EQ(std::ssize(kept), s.whole.vocab_size() * 3 / 4);
  const std::vector<int64_t> counts = s.counts();
  int64_t most_cut = 0, least_kept = s.whole.vocab_size();
  for (TokenId id = 0; id < s.whole.vocab_size(); ++id)
    if (!std::ranges::binary_search(kept, id)) most_cut = std::max(most_cut, counts[size_t(id)]);
  for (const TokenId id : s.keep("0.1")) least_kept = std::min(least_kept, counts[size_t(id)]);
  EXPECT_LE(most_cut, 1);
  EXPECT_EQ(least_kept, 0) << "characters stay";
}

TEST(Vocabulary, NamedTokensKeepTheirMeaning) {
  const Sample s;
  const std::vector<TokenId> kept = s.keep("unused");
  const TokenizerData &before = s.whole.data(), after = trim_tokenizer(before, kept);
  ASSERT_EQ(after.added.size(), before.added.size());
  for (size_t i = 0; i < after.added.size(); ++i)
    EXPECT_EQ(after.tokens[size_t(after.added[i].id)], before.tokens[size_t(before.added[i].id)]);
  EXPECT_EQ(after.tokens[size_t(*after.eos)], before.tokens[size_t(*before.eos)]);
  ASSERT_EQ(after.end_tokens.size(), before.end_tokens.size());
  EXPECT_EQ(after.tokens[size_t(after.end_tokens[0])], before.tokens[size_t(before.end_tokens[0])]);
}

// a b c ab bc abc xyz; "abc" is made by two merges: both stay with it. Padding rows go first.
TEST(Vocabulary, WhatMergesIntoATokenStaysWithIt) {
  TokenizerData data;
  data.tokens = {"a", "b", "c", "ab", "bc", "abc", "cab", ""};
  data.types.assign(8, TokenType::normal);
  data.merges = {{0, 1}, {1, 2}, {3, 2}, {0, 4}, {2, 3}};
  data.decode.replacements = {};
  const std::vector<int64_t> counts = {0, 0, 0, 0, 0, 9, 0, 0};
  EXPECT_THAT(tokens_to_keep(data, 10, counts, {}), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(tokens_to_keep(data, 10, counts, {.share = 0.6}), ElementsAre(0, 1, 2, 3))
      << "abc does not fit";
  const TokenizerData trimmed = trim_tokenizer(data, std::vector<TokenId>{0, 1, 2, 3, 4, 5});
  EXPECT_EQ(trimmed.merges.size(), 4u);
  EXPECT_THAT(error_of([&] { tokens_to_keep(data, 10, counts, {.share = 0.8}); }),
              HasSubstr("leaves 2; characters and special tokens, which have to stay, are 3"));
  data.kind = TokenizerKind::spm;
  EXPECT_THAT(error_of([&] { tokens_to_keep(data, 10, counts, {}); }), HasSubstr("cannot lose tokens"));
}

TEST(Vocabulary, WhatIsNoCutIsRefused) {
  for (const char* text : {"", "0", "1", "-0.5", "nan", "used", "0.5x"})
    EXPECT_THAT(error_of([&] { parse_vocabulary_cut(text); }), HasSubstr("expected `unused`, or a share"))
        << text;
}

}  // namespace
}  // namespace edgeq
