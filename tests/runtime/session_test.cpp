// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "runtime/kernels/kernel_table.h"
#include "runtime/runtime.h"
#include "tests/runtime/variants.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

class RuntimeSession : public testing::Test {
 protected:
  const TinyCheckpoint checkpoint_{tiny_config()};
  const std::unique_ptr<LanguageModel> model_ = open_float_runtime(checkpoint_, {.threads = 2});
  const std::vector<TokenId> tokens_ = tokens_of(tiny_config(), 100);

  static std::vector<float> row(const MatrixView<const float>& m, int64_t r) {
    return {m.row(r), m.row(r) + m.cols};
  }
};

TEST_F(RuntimeSession, GivesTheLogitsThatAreAskedFor) {
  const auto all = model_->start({}), last = model_->start({}), none = model_->start({});
  const MatrixView<const float> every = all->feed(tokens_, Logits::all);
  const MatrixView<const float> one = last->feed(tokens_, Logits::last);
  EXPECT_EQ(every.rows, 100);
  EXPECT_EQ(every.cols, checkpoint_.config().vocab);
  ASSERT_EQ(one.rows, 1);
  EXPECT_EQ(row(one, 0), row(every, 99));
  EXPECT_EQ(none->feed(tokens_, Logits::none).rows, 0);
  EXPECT_EQ(none->length(), 100);
  EXPECT_EQ(none->feed({}, Logits::last).rows, 0);
}

TEST_F(RuntimeSession, TruncatingForgetsWhatCameAfter) {
  const auto session = model_->start({}), fresh = model_->start({});
  session->feed(tokens_of(tiny_config(), 90, 6), Logits::none);
  session->truncate(0);
  session->feed(tokens_, Logits::none);
  session->truncate(37);
  EXPECT_EQ(session->length(), 37);
  const auto expected = feed_in_pieces(*fresh, tokens_, 100);
  EXPECT_EQ(row(session->feed(std::span(tokens_).subspan(37), Logits::last), 0), expected[99]);
}

TEST_F(RuntimeSession, SessionsOfOneModelDoNotDisturbEachOther) {
  const auto a = model_->start({}), b = model_->start({.max_tokens = 120}), alone = model_->start({});
  const std::vector<TokenId> other = tokens_of(tiny_config(), 100, 8);
  std::vector<std::vector<float>> found;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    found.push_back(row(a->feed(std::span(tokens_).subspan(i, 1), Logits::last), 0));
    b->feed(std::span(other).subspan(i, 1), Logits::last);
  }
  EXPECT_EQ(found, feed_in_pieces(*alone, tokens_, 100));
}

TEST_F(RuntimeSession, OutlivesTheRuntimeThatStartedIt) {
  auto model = open_float_runtime(checkpoint_, {.threads = 1});
  const auto session = model->start({});
  model.reset();
  EXPECT_EQ(session->feed(tokens_, Logits::last).rows, 1);
}

TEST_F(RuntimeSession, RefusesATokenOutsideTheVocabulary) {
  const auto session = model_->start({});
  EXPECT_EQ(error_of([&] {
              session->feed(std::vector<TokenId>{1, 83}, Logits::last);
            }),
            "token 83 at position 1 is outside the vocabulary of 83");
  EXPECT_EQ(error_of([&] { session->feed(std::vector<TokenId>{-1}, Logits::last); }),
            "token -1 at position 0 is outside the vocabulary of 83");
  EXPECT_EQ(session->length(), 0);
}

TEST_F(RuntimeSession, RefusesMoreTokensThanTheCacheHolds) {
  const auto session = model_->start({.max_tokens = 110});
  session->feed(tokens_, Logits::none);
  EXPECT_EQ(error_of([&] { session->feed(std::span(tokens_).first(11), Logits::none); }),
            "11 tokens after 100 do not fit a cache of 110");
  EXPECT_EQ(session->feed(std::span(tokens_).first(10), Logits::last).rows, 1);
  EXPECT_EQ(error_of([&] { session->truncate(111); }), "cannot truncate a sequence of 110 tokens to 111");
}

TEST_F(RuntimeSession, RefusesACacheLargerThanTheContext) {
  EXPECT_EQ(error_of([&] { model_->start({.max_tokens = 641}); }),
            "a cache of 641 tokens is asked for, the model's context is 640");
  EXPECT_EQ(error_of([&] { model_->start({.max_tokens = -1}); }),
            "a cache of -1 tokens is asked for, the model's context is 640");
}

TEST_F(RuntimeSession, CountsTheBytesOfAToken) {
  // 2 layers, 2 heads: keys of 12 floats, values of 12 padded to 16
  EXPECT_EQ(model_->kv_bytes_per_token(), 2 * 2 * (12 + 16) * 4);
  const auto codes = open_float_runtime(checkpoint_, {.threads = 1, .kv = parse_kv_scheme("k8v8")});
  EXPECT_LT(codes->kv_bytes_per_token(), model_->kv_bytes_per_token() / 2);
}

TEST(Runtime, RefusesKernelsThatDoNotExist) {
  const TinyCheckpoint checkpoint(tiny_config());
  EXPECT_NE(error_of([&] { open_float_runtime(checkpoint, {.isa = "mmx"}); }).find("\"mmx\""),
            std::string::npos);
}

TEST(Runtime, RunsTheKernelsThatWereForced) {
  const char* forced = std::getenv("EDGEQ_ISA");
  if (forced == nullptr) GTEST_SKIP() << "EDGEQ_ISA is not set";
  EXPECT_EQ(active_isa(), forced);
}

}  // namespace
}  // namespace edgeq
