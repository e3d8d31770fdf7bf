// SPDX-License-Identifier: Apache-2.0
#include "models/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/tokenizer_cases.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CorpusTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) { return dir_.write(name, text); }

  TempDir dir_;
  Tokenizer tokenizer_ = golden_tokenizer("gpt2");
};

TEST_F(CorpusTest, ATextFileIsTokenizedWholeWithoutSpecialTokens) {
  const Corpus corpus = read_corpus(write("a.txt", "The river <|im_end|> was low.\n"), tokenizer_);
  EXPECT_EQ(corpus.name, "a.txt");
  EXPECT_EQ(corpus.tokens, tokenizer_.encode("The river <|im_end|> was low.\n", SpecialTokens::plain));
  EXPECT_EQ(tokenizer_.decode(corpus.tokens), "The river <|im_end|> was low.\n");
}

TEST_F(CorpusTest, JsonLinesAreJoinedByBlankLines) {
  const std::string lines =
      "{\"b\": \"one\", \"n\": 3, \"a\": \"two\"}\n\n\"three\"\n{\"x\": [\"not this\"]}\n";
  const Corpus corpus = read_corpus(write("a.jsonl", lines), tokenizer_);
  EXPECT_EQ(tokenizer_.decode(corpus.tokens), "one\n\ntwo\n\nthree");
  EXPECT_EQ(corpus.hash, read_corpus(write("b.txt", "one\n\ntwo\n\nthree"), tokenizer_).hash);
}

TEST_F(CorpusTest, ALineIsADocument) {
  const Corpus corpus = read_corpus(write("a.jsonl", "\"one two\"\n{}\n\"three\"\n"), tokenizer_);
  const auto first = tokenizer_.encode("one two\n\n");
  EXPECT_THAT(corpus.documents, testing::ElementsAre(0, std::ssize(first)));
  EXPECT_THAT(read_corpus(write("a.txt", "one\n\ntwo"), tokenizer_).documents, testing::ElementsAre(0));
}

TEST_F(CorpusTest, RefusesWhatHoldsNoText) {
  EXPECT_THAT(error_of([&] { read_corpus(dir_.file("none.txt"), tokenizer_); }), HasSubstr("none.txt"));
  const std::string empty = write("empty.txt", ""), numbers = write("n.jsonl", "{\"a\": 1}\n");
  EXPECT_THAT(error_of([&] { read_corpus(empty, tokenizer_); }), HasSubstr("empty.txt"));
  EXPECT_THAT(error_of([&] { read_corpus(numbers, tokenizer_); }),
              AllOf(HasSubstr("n.jsonl"), HasSubstr("no text")));
  const std::string broken = write("b.jsonl", "{\"a\": \"x\"}\n{\"a\": \n");
  EXPECT_THAT(error_of([&] { read_corpus(broken, tokenizer_); }), HasSubstr("line 2"));
}

TEST(Windows, AreCutFromTheStartWithoutOverlap) {
  const Corpus corpus{.name = "c", .hash = "", .tokens = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
  const Windows all = cut_windows(corpus, 3, 0), two = cut_windows(corpus, 3, 2);
  EXPECT_EQ(all.count(), 3);
  EXPECT_THAT(all[2], testing::ElementsAre(6, 7, 8));
  EXPECT_EQ(two.count(), 2);
  EXPECT_THAT(two[1], testing::ElementsAre(3, 4, 5));
}

TEST(Windows, BeginWithBosAsDocumentsDoWhereTheModelExpectsIt) {
  const Tokenizer with_bos = golden_tokenizer("llama3"), without = golden_tokenizer("gpt2");
  ASSERT_TRUE(with_bos.adds_bos() && !without.adds_bos());
  const TokenId bos = *with_bos.bos();
  const Corpus corpus{.name = "c", .hash = "", .tokens = {1, 2, 3, 4, 5, 6, 7}, .documents = {0, 4}};
  const Windows windows = cut_input_windows(corpus, with_bos, 3, 0);
  EXPECT_THAT(windows.tokens, testing::ElementsAre(bos, 1, 2, bos, 3, 4, bos, 5, 6));
  EXPECT_THAT(cut_input_windows(corpus, with_bos, 4, 0).tokens,
              testing::ElementsAre(bos, 1, 2, 3, bos, 4, bos, 5));
  EXPECT_EQ(cut_input_windows(corpus, without, 3, 0).tokens, cut_windows(corpus, 3, 0).tokens);
}

TEST(Windows, KnowWhatTheyShareInLongRuns) {
  std::vector<TokenId> tokens(400);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = TokenId(i);
  const auto part = [&](int64_t begin) {
    return Windows{100, {tokens.begin() + begin, tokens.begin() + begin + 100}};
  };
  EXPECT_EQ(shared_share(part(0), part(0)), 1);
  EXPECT_EQ(shared_share(part(0), part(60)), 0.4);
  EXPECT_EQ(shared_share(part(0), part(100 - kSharedRun)), double(kSharedRun) / 100);
  EXPECT_EQ(shared_share(part(0), part(101 - kSharedRun)), 0) << "a run shorter than kSharedRun is chance";
  EXPECT_EQ(shared_share(part(0), {}), 0);
}

TEST(Windows, SayHowManyTokensThereAreAndHowManyAreNeeded) {
  const Corpus corpus{.name = "c", .hash = "", .tokens = {0, 1, 2, 3}};
  EXPECT_THAT(error_of([&] { cut_windows(corpus, 2, 3); }),
              AllOf(HasSubstr("4 tokens"), HasSubstr("need 6")));
  EXPECT_THAT(error_of([&] { cut_windows(corpus, 5, 0); }),
              AllOf(HasSubstr("4 tokens"), HasSubstr("need 5")));
  EXPECT_THAT(error_of([&] { cut_windows(corpus, 0, 1); }), HasSubstr("at least 1"));
  EXPECT_THAT(error_of([&] { cut_windows(corpus, 2, -1); }), HasSubstr("-1 windows"));
  EXPECT_THAT(error_of([&] { cut_windows(corpus, INT64_MAX, INT64_MAX); }), HasSubstr("4 tokens"));
}

}  // namespace
}  // namespace edgeq
