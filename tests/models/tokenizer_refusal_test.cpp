// SPDX-License-Identifier: Apache-2.0
// What the tokenizer readers refuse: parts that would be run otherwise than the Python packages run them, and
// files that lie.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/tokenizer.h"
#include "models/tokenizer_data.h"
#include "tests/models/tokenizer_cases.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

json small() {
  return json::parse(R"({
    "added_tokens": [{"id": 4, "content": "<e>", "special": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": ["a b"]}})");
}

std::string refusal(const std::function<void(json&)>& change) {
  json root = small();
  change(root);
  return error_of([&] { Tokenizer::from_json(root.dump()); });
}

TEST(TokenizerJson, ReadsTheSmallExampleOfTheseTests) {
  EXPECT_EQ(Tokenizer::from_json(small().dump()).encode("ab<e> a"), (std::vector<TokenId>{2, 4, 3, 0}));
}

TEST(TokenizerJson, NamesThePartThatIsNotSupported) {
  EXPECT_THAT(refusal([](json& j) { j["model"]["type"] = "Unigram"; }),
              AllOf(HasSubstr("tokenizer.json"), HasSubstr("'Unigram'"), HasSubstr("expected BPE")));
  EXPECT_THAT(refusal([](json& j) { j["normalizer"] = {{"type", "Lowercase"}}; }), HasSubstr("'Lowercase'"));
  EXPECT_THAT(refusal([](json& j) {
                j["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
              }),
              HasSubstr("'BertPreTokenizer'"));
  EXPECT_THAT(refusal([](json& j) { j["decoder"] = {{"type", "WordPiece"}}; }), HasSubstr("'WordPiece'"));
  EXPECT_THAT(refusal([](json& j) { j["decoder"] = nullptr; }), HasSubstr("'decoder' is missing"));
  EXPECT_THAT(refusal([](json& j) {
                j["post_processor"] = {{"type", "BertProcessing"}};
              }),
              HasSubstr("'BertProcessing'"));
  EXPECT_THAT(refusal([](json& j) { j["model"]["dropout"] = 0.1; }), HasSubstr("dropout"));
  EXPECT_THAT(refusal([](json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }),
              HasSubstr("end_of_word_suffix"));
}

TEST(TokenizerJson, RefusesAVocabularyThatContradictsItself) {
  EXPECT_THAT(refusal([](json& j) { j["model"]["vocab"]["c"] = 1; }), HasSubstr("token id 1: both"));
  EXPECT_THAT(refusal([](json& j) { j["model"]["vocab"]["c"] = 4000000000u; }),
              HasSubstr("expected a number below"));
  EXPECT_THAT(refusal([](json& j) { j["model"]["vocab"]["c"] = -1; }), HasSubstr("id -1"));
  EXPECT_THAT(refusal([](json& j) { j["model"]["merges"] = {"a x"}; }),
              HasSubstr("merge 0: 'x' is not in the"));
  EXPECT_THAT(refusal([](json& j) { j["model"]["merges"] = {"b a"}; }),
              HasSubstr("'ba' is not in the vocabulary"));
  EXPECT_THAT(refusal([](json& j) { j["model"]["merges"] = {"a b c"}; }), HasSubstr("expected two pieces"));
  EXPECT_THAT(refusal([](json& j) { j["model"]["unk_token"] = "?"; }), HasSubstr("unk_token '?'"));
  EXPECT_THAT(refusal([](json& j) { j["added_tokens"][0]["id"] = 2; }), HasSubstr("token id 2"));
  EXPECT_THAT(error_of([] { Tokenizer::from_json("[1, 2"); }), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of([] { Tokenizer::from_json("{}"); }), HasSubstr("'model' is missing"));
}

TEST(TokenizerJson, MergesMayBeWrittenAsPairs) {
  json root = small();
  root["model"]["merges"] = json::array({json::array({"a", "b"})});
  EXPECT_EQ(Tokenizer::from_json(root.dump()).encode("ab"), std::vector<TokenId>{2});
}

TEST(TokenizerModel, RefusesEveryTruncation) {
  const std::string model = read_test_file(golden_folder() + "spm_bytes.model");
  const auto bytes = std::as_bytes(std::span(model));
  int refused = 0;
  for (size_t size = 0; size < 400; ++size) {
    // A cut between two pieces is a smaller model; what is left must then be refused for its model type.
    EXPECT_NE(error_of([&] { Tokenizer::from_sentencepiece(bytes.first(size)); }), "");
    ++refused;
  }
  EXPECT_EQ(refused, 400);
}

TEST(TokenizerModel, RefusesUnigram) {
  // trainer_spec (field 2) { model_type (field 3) = 1 }, one piece "a".
  const std::string model("\x0A\x03\x0A\x01\x61\x12\x02\x18\x01", 9);
  EXPECT_THAT(error_of([&] { Tokenizer::from_sentencepiece(std::as_bytes(std::span(model))); }),
              AllOf(HasSubstr("tokenizer.model"), HasSubstr("unigram")));
}

TEST(TokenizerSerialized, RefusesEveryTruncationAndAnotherVersion) {
  const std::vector<std::byte> bytes = Tokenizer::from_json(small().dump()).serialize();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(error_of([&] { Tokenizer::deserialize(std::span(bytes).first(size)); }),
                HasSubstr("serialized tokenizer"))
        << size;
  }
  auto newer = bytes;
  newer[4] = std::byte(9);
  EXPECT_THAT(error_of([&] { Tokenizer::deserialize(newer); }), HasSubstr("version 9; this build reads 1"));
  auto longer = bytes;
  longer.push_back(std::byte(0));
  EXPECT_THAT(error_of([&] { Tokenizer::deserialize(longer); }), HasSubstr("bytes after the end"));
}

TEST(TokenizerSerialized, RefusesIdsOutsideTheVocabulary) {
  TokenizerData data = Tokenizer::from_json(small().dump()).data();
  data.merges[0].left = 99;
  EXPECT_THAT(error_of([&] { Tokenizer::deserialize(serialize_tokenizer(data)); }), HasSubstr("99"));
}

TEST(TokenizerSerialized, TakesLittleMoreRoomThanItsTexts) {
  const Tokenizer tokenizer = golden_tokenizer("gpt2");
  size_t texts = 0;
  for (const std::string& token : tokenizer.data().tokens) texts += token.size();
  // Length, type and a merge of two ids of at most three bytes each.
  EXPECT_LT(tokenizer.serialize().size(), texts + tokenizer.data().tokens.size() * (1 + 1 + 3 + 3) + 1024);
}

TEST(TokenizerFolder, SaysWhatItLooksFor) {
  EXPECT_THAT(error_of([] { Tokenizer::from_folder("/nonexistent"); }),
              AllOf(HasSubstr("/nonexistent"), HasSubstr("tokenizer.json or tokenizer.model")));
}

TEST(Tokenizer, RefusesAnIdOutsideTheVocabulary) {
  const Tokenizer tokenizer = Tokenizer::from_json(small().dump());
  EXPECT_THAT(error_of([&] { tokenizer.piece(5); }), HasSubstr("token 5: the vocabulary has 5"));
  EXPECT_THAT(error_of([&] { tokenizer.decode(std::vector<TokenId>{-1}); }), HasSubstr("token -1"));
}

TEST(GgufPreTokenizer, ListsTheKnownNamesForAnUnknownOne) {
  EXPECT_THAT(error_of([] { gguf_pre_tokenizer("mystery"); }),
              AllOf(HasSubstr("'mystery'"), HasSubstr("llama-bpe")));
}

}  // namespace
}  // namespace edgeq
