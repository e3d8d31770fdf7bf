// SPDX-License-Identifier: Apache-2.0
// A tokenizer written into GGUF metadata and read back gives the same ids.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/gguf.h"
#include "models/tokenizer_data.h"
#include "tests/models/tokenizer_cases.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TokenizerGguf : public testing::Test {
 protected:
  // The metadata that an export writes.
  void set_all(GgufWriter& out, const TokenizerData& data) {
    const bool bpe = data.kind == TokenizerKind::bpe;
    out.set("tokenizer.ggml.model", std::string(bpe ? "gpt2" : "llama"));
    out.set("tokenizer.ggml.tokens", data.tokens);
    std::vector<int32_t> types;
    for (const TokenType type : data.types) types.push_back(int32_t(type));
    out.set("tokenizer.ggml.token_type", types);
    if (bpe) out.set("tokenizer.ggml.merges", merge_texts(data));
    if (!bpe) out.set("tokenizer.ggml.scores", data.scores);
    if (!data.pre_name.empty()) out.set("tokenizer.ggml.pre", data.pre_name);
    if (data.bos) out.set("tokenizer.ggml.bos_token_id", uint32_t(*data.bos));
    out.set("tokenizer.ggml.add_bos_token", data.adds_bos);
  }
  Tokenizer through_gguf(const TokenizerData& data) {
    const std::string path = dir_.file("t.gguf");
    GgufWriter out(path, OutputFile::Existing::replace);
    set_all(out, data);
    out.finish();
    return Tokenizer::from_gguf(GgufFile(path));
  }

  TempDir dir_;
};

// Flags that GGUF has no place for: tokens that take white space, or that are found in normalized text.
bool is_plain(const TokenizerCase& c) {
  return c.text.find("<mask>") == std::string::npos && c.text.find("word") == std::string::npos;
}

TEST_F(TokenizerGguf, ByteLevelTokenizersGiveTheSameIds) {
  for (const char* name : {"gpt2", "llama3", "qwen"}) {
    const Tokenizer tokenizer = golden_tokenizer(name), read = through_gguf(tokenizer.data());
    EXPECT_EQ(read.adds_bos(), tokenizer.adds_bos());
    int compared = 0;
    for (const TokenizerCase& c : golden_cases(name)) {
      if (!is_plain(c)) continue;
      ++compared;
      EXPECT_EQ(read.encode(c.text), c.ids) << name << ": " << c.text;
      EXPECT_EQ(read.decode(c.ids), tokenizer.decode(c.ids)) << name << ": " << c.text;
    }
    EXPECT_GT(compared, 120);
  }
}

TEST_F(TokenizerGguf, SentencePieceTokenizersGiveTheSameIds) {
  const Tokenizer tokenizer = golden_tokenizer("spm_bytes"), read = through_gguf(tokenizer.data());
  for (const TokenizerCase& c : golden_cases("spm_bytes")) {
    EXPECT_EQ(read.encode(c.text, SpecialTokens::plain), c.plain) << c.text;
    EXPECT_EQ(read.decode(c.plain), tokenizer.decode(c.plain)) << c.text;
  }
}

TEST_F(TokenizerGguf, RefusesAnUnknownOrMissingPreTokenizer) {
  TokenizerData data = golden_tokenizer("gpt2").data();
  data.pre_name = "mystery";
  EXPECT_THAT(error_of([&] { through_gguf(data); }),
              AllOf(HasSubstr("t.gguf"), HasSubstr("'mystery'"), HasSubstr("gpt-2, ")));
  data.pre_name.clear();
  EXPECT_THAT(error_of([&] { through_gguf(data); }), HasSubstr("tokenizer.ggml.pre is missing"));
}

TEST_F(TokenizerGguf, RefusesTablesThatDoNotFitTheVocabulary) {
  TokenizerData data = golden_tokenizer("spm_bytes").data();
  data.types.pop_back();
  EXPECT_THAT(error_of([&] { through_gguf(data); }), HasSubstr("tokenizer.ggml.token_type"));
  data = golden_tokenizer("spm_bytes").data();
  data.scores.pop_back();
  EXPECT_THAT(error_of([&] { through_gguf(data); }), HasSubstr("scores"));
  data = golden_tokenizer("spm_bytes").data();
  data.bos = 1 << 20;
  EXPECT_THAT(error_of([&] { through_gguf(data); }), HasSubstr("tokenizer.ggml.bos_token_id"));
}

}  // namespace
}  // namespace edgeq
