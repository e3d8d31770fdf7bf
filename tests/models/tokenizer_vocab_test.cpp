// SPDX-License-Identifier: Apache-2.0
// Vocabularies of real models, which are too large to carry: GGUF files without weights, with texts (.inp)
// and the ids that the Python packages give for them (.out), as llama.cpp's source package has them in
// `models/`. EDGEQ_VOCAB_DIR names the folder.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "core/text.h"
#include "formats/gguf.h"
#include "models/tokenizer.h"
#include "models/tokenizer_data.h"
#include "tests/models/tokenizer_cases.h"

namespace edgeq {
namespace {

std::vector<std::string> texts_of(const std::string& file) {
  constexpr std::string_view kBetween = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  size_t start = 0;
  for (size_t at; (at = file.find(kBetween, start)) != std::string::npos; start = at + kBetween.size()) {
    texts.push_back(file.substr(start, at - start));
  }
  texts.push_back(file.substr(start));
  return texts;
}

std::vector<std::vector<TokenId>> ids_of(const std::string& file) {
  std::vector<std::vector<TokenId>> lines;
  for (const std::string_view line : split(file, '\n')) {
    std::istringstream numbers{std::string(line)};
    lines.emplace_back();
    for (TokenId id; numbers >> id;) lines.back().push_back(id);
  }
  return lines;
}

class TokenizerVocab : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerVocab, GivesTheExpectedIds) {
  const char* folder = std::getenv("EDGEQ_VOCAB_DIR");
  if (!folder) GTEST_SKIP() << "EDGEQ_VOCAB_DIR is not set";
  const std::string path = std::string(folder) + "/ggml-vocab-" + GetParam() + ".gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " does not exist";
  const Tokenizer read = Tokenizer::from_gguf(GgufFile(path));
  const Tokenizer tokenizer = Tokenizer::deserialize(read.serialize());
  const auto texts = texts_of(read_test_file(path + ".inp"));
  const auto expected = ids_of(read_test_file(path + ".out"));  // one line for each text, then nothing
  ASSERT_LE(texts.size(), expected.size());
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(tokenizer.encode(texts[i]), expected[i]) << texts[i];
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerVocab,
                         testing::Values("llama-spm", "llama-bpe", "qwen2", "qwen35", "gpt-2", "phi-3",
                                         "deepseek-llm", "deepseek-coder", "starcoder", "refact", "falcon",
                                         "mpt", "command-r"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace edgeq
