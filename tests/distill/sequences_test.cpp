// SPDX-License-Identifier: Apache-2.0
#include "distill/sequences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "tests/distill/well_formed.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// Words that differ from line to line.
std::string line_of(int i) { return "The keeper wrote down the number " + std::to_string(i * 7919) + "."; }

std::string json_lines(int count, int modulus) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += "{\"text\": \"" + line_of(i % modulus) + "\"}\n";
  return lines;
}

class SequencesTest : public testing::Test {
 protected:
  Dataset read(const std::string& name, const std::string& text, const DataOptions& options) const {
    const std::vector<std::string> paths{dir_.write(name, text)};
    return sequences_of_texts(paths, tokenizer_, options);
  }

  TempDir dir_;
  Tokenizer tokenizer_ = tiny_tokenizer();
};

// The text of all documents in order, without what begins each.
std::string text_of(const std::vector<Sequence>& sequences, const Tokenizer& tokenizer) {
  std::vector<TokenId> all;
  for (const Sequence& s : sequences) all.insert(all.end(), s.tokens.begin(), s.tokens.end());
  return tokenizer.decode(all);
}

TEST_F(SequencesTest, ATextIsCutWithoutLoss) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += line_of(i) + "\n";
  const Dataset data = read("a.txt", text, {.length = 50});
  expect_well_formed(data.train, 50);
  EXPECT_EQ(text_of(data.train, tokenizer_), text);
  EXPECT_EQ(data.counts.documents, 1);
  EXPECT_GT(data.train.size(), 5u);
  EXPECT_TRUE(data.held_out.empty());
  for (size_t s = 0; s + 1 < data.train.size(); ++s) EXPECT_EQ(data.train[s].tokens.size(), 50u);
}

TEST_F(SequencesTest, DocumentsArePackedWithTheirBoundaries) {
  const Dataset data = read("a.jsonl", json_lines(30, 30), {.length = 100});
  expect_well_formed(data.train, 100);
  int64_t documents = 0;
  for (const Sequence& s : data.train) {
    documents += std::ssize(s.documents);
    // Nothing else is left out of the loss.
    EXPECT_EQ(std::count(s.learned.begin(), s.learned.end(), 0), std::ssize(s.documents));
  }
  EXPECT_GE(documents, 30);
  EXPECT_EQ(learned_count(data.train), token_count(data.train) - documents);
}

TEST_F(SequencesTest, BosBeginsEveryDocumentWhereTheModelExpectsIt) {
  const std::string folder = std::string(EDGEQ_SOURCE_DIR) + "/tests/golden/tokenizers/";
  const std::string model = read_text_file(folder + "spm_bytes.model");
  const Tokenizer tokenizer = Tokenizer::from_sentencepiece(std::as_bytes(std::span(model)));
  ASSERT_TRUE(tokenizer.adds_bos() && tokenizer.bos());
  const std::vector<std::string> paths{dir_.write("a.jsonl", json_lines(12, 12))};
  const Dataset data = sequences_of_texts(paths, tokenizer, {.length = 32});
  expect_well_formed(data.train, 32);
  for (const Sequence& s : data.train)
    for (const int64_t d : s.documents) EXPECT_EQ(s.tokens[size_t(d)], *tokenizer.bos());
}

TEST_F(SequencesTest, DuplicatesAreLeftOutAndCounted) {
  const Dataset data = read("a.jsonl", json_lines(30, 20), {.length = 100});
  EXPECT_EQ(data.counts.documents, 30);
  EXPECT_EQ(data.counts.duplicates, 10);
  EXPECT_THAT(data_text(data), HasSubstr("30 documents, 10 duplicates left out"));
  const Dataset once = read("b.jsonl", json_lines(20, 20), {.length = 100});
  EXPECT_EQ(once.counts.duplicates, 0);
  EXPECT_THAT(text_of(data.train, tokenizer_), StartsWith(text_of(once.train, tokenizer_)));
  EXPECT_LE(text_of(data.train, tokenizer_).size(), text_of(once.train, tokenizer_).size() + 2);
}

TEST_F(SequencesTest, MoreDuplicatesThanTextIsRefused) {
  EXPECT_THAT(error_of([&] { read("a.jsonl", json_lines(30, 10), {.length = 100}); }),
              AllOf(HasSubstr("a.jsonl"), HasSubstr("20 of 30 documents"), HasSubstr("at most half")));
}

TEST_F(SequencesTest, WholeDocumentsAreHeldOutBySeed) {
  const std::string lines = json_lines(200, 200);
  const Dataset data = read("a.jsonl", lines, {.length = 64, .held_out = 0.1, .seed = 5});
  expect_well_formed(data.held_out, 64);
  const double share =
      double(token_count(data.held_out)) / double(token_count(data.held_out) + token_count(data.train));
  EXPECT_NEAR(share, 0.1, 0.02);
  const std::string learned = text_of(data.train, tokenizer_), kept = text_of(data.held_out, tokenizer_);
  int whole = 0;
  for (int i = 0; i < 200; ++i) {
    const bool in_train = learned.find(line_of(i)) != std::string::npos;
    const bool in_held_out = kept.find(line_of(i)) != std::string::npos;
    EXPECT_NE(in_train, in_held_out) << line_of(i);
    whole += in_held_out;
  }
  EXPECT_NEAR(whole, 20, 3);
  const auto again = read("a.jsonl", lines, {.length = 64, .held_out = 0.1, .seed = 5});
  const auto other = read("a.jsonl", lines, {.length = 64, .held_out = 0.1, .seed = 6});
  EXPECT_EQ(sequences_hash(again.held_out), sequences_hash(data.held_out));
  EXPECT_NE(sequences_hash(other.held_out), sequences_hash(data.held_out));
}

TEST_F(SequencesTest, OneLongTextHoldsItsEndOut) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += line_of(i) + "\n";
  const Dataset data = read("a.txt", text, {.length = 50, .held_out = 0.2});
  EXPECT_EQ(text_of(data.train, tokenizer_) + text_of(data.held_out, tokenizer_), text);
  EXPECT_NEAR(double(token_count(data.held_out)) / double(token_count(data.train)), 0.25, 0.02);
}

TEST_F(SequencesTest, BadInputIsNamed) {
  EXPECT_THAT(error_of([&] { read("a.txt", "", {}); }), AllOf(HasSubstr("a.txt"), HasSubstr("empty")));
  EXPECT_THAT(error_of([&] { read("a.jsonl", "{\"text\": \"a\"}\n{oops\n", {}); }), HasSubstr("line 2"));
  EXPECT_THAT(error_of([&] { sequences_of_texts({}, tokenizer_, {}); }), HasSubstr("at least one file"));
  EXPECT_THAT(error_of([&] { read("a.txt", "text", {.length = 1}); }), HasSubstr("at least 2"));
  EXPECT_THAT(error_of([&] { read("a.txt", "some text", {.held_out = 0.9}); }), HasSubstr("0 to 0.5"));
  EXPECT_THAT(error_of([&] { read("a.txt", "some text", {.held_out = 0.01}); }),
              HasSubstr("too little text"));
  const std::vector<std::string> missing{dir_.file("none.txt")};
  EXPECT_THAT(error_of([&] { sequences_of_texts(missing, tokenizer_, {}); }), HasSubstr("none.txt"));
}

TEST(EpochOrder, VisitsEachSequenceOnceInAnOrderOfItsOwn) {
  const std::vector<int64_t> order = epoch_order(100, 3, 0);
  EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 100u);
  EXPECT_EQ(order, epoch_order(100, 3, 0));
  EXPECT_NE(order, epoch_order(100, 3, 1));
  EXPECT_NE(order, epoch_order(100, 4, 0));
  EXPECT_THAT(epoch_order(0, 3, 0), ElementsAre());
  // Seeds and epochs are not steps of one stream: an order is not a shifted one.
  EXPECT_NE(epoch_order(100, 4, 0), epoch_order(100, 3, 1));
}

TEST(SequencesHash, ChangesWithEveryField) {
  const Sequence base{.tokens = {1, 2, 3}, .learned = {0, 1, 1}, .documents = {0}};
  Sequence token = base, learned = base, documents = base;
  token.tokens[1] = 5;
  learned.learned[1] = 0;
  documents.documents.push_back(2);
  std::set<std::string> hashes;
  for (const Sequence& s : {base, token, learned, documents})
    hashes.insert(sequences_hash(std::vector<Sequence>{s}));
  EXPECT_EQ(hashes.size(), 4u);
}

}  // namespace
}  // namespace edgeq
