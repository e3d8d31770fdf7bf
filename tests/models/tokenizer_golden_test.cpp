// SPDX-License-Identifier: Apache-2.0
// Token ids equal those of the Python packages, on five scripts, emoji, code, odd white space, special tokens
// and invalid UTF-8.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/tokenizer_data.h"
#include "models/tokenizer_text.h"
#include "tests/models/tokenizer_cases.h"

namespace edgeq {
namespace {

bool is_sentencepiece(const std::string& name) { return name.starts_with("spm"); }

// How many cases come out otherwise. The sentencepiece package never parses the spelling of a control token.
int differing_cases(const Tokenizer& tokenizer, const std::string& name) {
  int differing = 0;
  for (const TokenizerCase& c : golden_cases(name)) {
    const bool parsed_differs = !is_sentencepiece(name) && tokenizer.encode(c.text) != c.ids;
    const bool plain_differs = tokenizer.encode(c.text, SpecialTokens::plain) != c.plain;
    if (parsed_differs || plain_differs) {
      ++differing;
      ADD_FAILURE_AT(__FILE__, __LINE__) << name << ": '" << c.text << "'";
    }
  }
  return differing;
}

class TokenizerGolden : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerGolden, GivesTheIdsOfThePythonPackage) {
  EXPECT_GE(golden_cases(GetParam()).size(), 130u);
  EXPECT_EQ(differing_cases(golden_tokenizer(GetParam()), GetParam()), 0);
}

TEST_P(TokenizerGolden, SurvivesItsOwnSerializedForm) {
  const Tokenizer tokenizer = golden_tokenizer(GetParam());
  const Tokenizer again = Tokenizer::deserialize(tokenizer.serialize());
  EXPECT_EQ(again.serialize(), tokenizer.serialize());
  EXPECT_EQ(differing_cases(again, GetParam()), 0);
}

TEST_P(TokenizerGolden, DecodesToTheTextOfThePythonPackage) {
  const Tokenizer tokenizer = golden_tokenizer(GetParam());
  for (const TokenizerCase& c : golden_cases(GetParam())) {
    // The packages replace bytes that are no UTF-8, each in its own way; here they stay bytes.
    if (c.decoded.find("\uFFFD") != std::string::npos) continue;
    EXPECT_EQ(tokenizer.decode(c.ids), c.decoded) << c.text;
  }
}

TEST_P(TokenizerGolden, PiecesJoinToTheDecodedText) {
  const Tokenizer tokenizer = golden_tokenizer(GetParam());
  for (const TokenizerCase& c : golden_cases(GetParam())) {
    std::string joined;
    for (const TokenId id : c.plain) joined += tokenizer.piece(id);
    const std::string decoded = tokenizer.decode(c.plain, SpecialTokens::parse);
    ASSERT_TRUE(joined.ends_with(decoded) || GetParam() == "metaspace") << c.text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden,
                         testing::Values("gpt2", "llama3", "qwen", "digits", "llama2", "metaspace",
                                         "spm_bytes", "spm_map"),
                         [](const auto& info) { return info.param; });

// The negative control: a tokenizer that is wrong in one small way fails the comparison above.
TEST(TokenizerGoldenCheck, NoticesAChangeOfOneExpressionOrOneMerge) {
  const auto differing = [](const std::string& name, auto change) {
    TokenizerData data = golden_tokenizer(name).data();
    change(data);
    const Tokenizer changed = Tokenizer::deserialize(serialize_tokenizer(data));
    int count = 0;
    for (const TokenizerCase& c : golden_cases(name)) count += changed.encode(c.text) != c.ids;
    return count;
  };
  EXPECT_EQ(differing("gpt2", [](TokenizerData&) {}), 0);
  EXPECT_GT(differing("gpt2", [](TokenizerData& data) { data.merges.erase(data.merges.begin()); }), 0);
  EXPECT_GT(differing("llama3", [](TokenizerData& data) { data.ignore_merges = false; }) +
                differing("llama3", [](TokenizerData& data) { data.pre_tokenize = {alphabet_step()}; }),
            0);
  EXPECT_GT(differing("qwen", [](TokenizerData& data) { data.normalize.clear(); }), 0);
  EXPECT_GT(differing("llama2", [](TokenizerData& data) { data.byte_fallback = false; }), 0);
}

TEST(TokenizerGolden, ByteLevelTokenizersGiveAnyBytesBack) {
  const Tokenizer tokenizer = golden_tokenizer("gpt2");
  for (const TokenizerCase& c : golden_cases("gpt2")) {
    if (c.text.find("<mask>") != std::string::npos) continue;  // takes the white space around it
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(c.text), SpecialTokens::parse), replace_invalid_utf8(c.text));
  }
}

TEST(TokenizerGolden, KnowsWhichTokensBeginAndEndAText) {
  const Tokenizer llama3 = golden_tokenizer("llama3");
  EXPECT_TRUE(llama3.adds_bos());
  EXPECT_EQ(llama3.encode("<|begin_of_text|>"), std::vector<TokenId>{*llama3.bos()});
  EXPECT_THAT(llama3.end_tokens(), testing::Contains(llama3.encode("<|eot_id|>").at(0)));
  EXPECT_FALSE(golden_tokenizer("gpt2").adds_bos());
  const Tokenizer with_config = Tokenizer::from_json(
      read_test_file(golden_folder() + "gpt2.json"),
      R"({"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "chat_template": "x"})");
  EXPECT_EQ(with_config.bos(), with_config.encode("<|im_start|>").at(0));
  EXPECT_EQ(with_config.chat_template(), "x");
}

TEST(TokenizerGolden, TheHashIsOfWhatMakesTokensAndOfNothingElse) {
  const Tokenizer plain = golden_tokenizer("gpt2");
  const auto hash_after = [&](auto change) {
    TokenizerData data = plain.data();
    change(data);
    return Tokenizer::deserialize(serialize_tokenizer(data)).hash();
  };
  EXPECT_EQ(plain.hash(), hash_after([](TokenizerData& data) {
              data.chat_template = "{{ messages[0].content }}";
              data.bos = data.eos = 0;
              data.adds_bos = true;
              data.end_tokens = {0, 1};
            }));
  EXPECT_NE(plain.hash(), hash_after([](TokenizerData& data) { data.merges.pop_back(); }));
  EXPECT_NE(plain.hash(), hash_after([](TokenizerData& data) { data.added.pop_back(); }));
  EXPECT_NE(plain.hash(), hash_after([](TokenizerData& data) { data.pre_tokenize = {alphabet_step()}; }));
  EXPECT_NE(plain.hash(), hash_after([](TokenizerData& data) { data.normalize.push_back({}); }));
}

TEST(TokenizerGolden, NamesThePreTokenizersThatGgufKnows) {
  EXPECT_EQ(golden_tokenizer("gpt2").data().pre_name, "gpt-2");
  EXPECT_EQ(golden_tokenizer("llama3").data().pre_name, "llama-bpe");
  EXPECT_EQ(golden_tokenizer("qwen").data().pre_name, "qwen2");
  EXPECT_EQ(golden_tokenizer("digits").data().pre_name, "");
}

TEST(TokenizerGolden, ALongRunWithoutASpaceIsNotQuadratic) {
  // 200 kB merge through a heap in a fraction of a second; a list scanned for each merge would take hours.
  std::string text;
  for (int64_t i = 0; i < 200'000; ++i) text += char('a' + i * i % 7);
  for (const char* name : {"gpt2", "llama2", "spm_bytes"}) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << name;
  }
}

}  // namespace
}  // namespace edgeq
