// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "models/torch/torch_model.h"
#include "tests/support/golden_logits.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

class TorchSession : public testing::Test {
 protected:
  GoldenLogits golden_ = read_golden("llama");
  std::unique_ptr<LanguageModel> model_ = open_torch_model(*open_checkpoint(golden_.folder));
};

TEST_F(TorchSession, ReturnsAsManyRowsAsAskedFor) {
  const auto session = model_->start({.max_tokens = 24});
  EXPECT_EQ(session->feed(std::span(golden_.tokens).first(4), Logits::none).rows, 0);
  const auto last = session->feed(std::span(golden_.tokens).subspan(4, 6), Logits::last);
  EXPECT_EQ(last.rows, 1);
  EXPECT_LE(relative_difference(last, golden_.logits.matrix().slice_rows(9, 1)), kLogitTolerance);
  EXPECT_EQ(session->feed({}, Logits::all).rows, 0);
  EXPECT_EQ(session->length(), 10);
}

TEST_F(TorchSession, SessionsOfOneModelDoNotMix) {
  const auto first = model_->start({}), second = model_->start({});
  second->feed(std::vector<TokenId>{7, 7, 7, 7, 7}, Logits::none);
  first->feed(std::span(golden_.tokens).first(8), Logits::none);
  second->feed(std::vector<TokenId>{3}, Logits::last);
  const auto rest = first->feed(std::span(golden_.tokens).subspan(8), Logits::all);
  EXPECT_LE(relative_difference(rest, golden_.logits.matrix().slice_rows(8, 16)), kLogitTolerance);
}

TEST_F(TorchSession, RefusesATokenOutsideTheVocabulary) {
  const auto session = model_->start({});
  EXPECT_THAT(error_of([&] {
                session->feed(std::vector<TokenId>{1, 48}, Logits::all);
              }),
              HasSubstr("token 48 at position 1 is outside the vocabulary of 48"));
  EXPECT_THAT(error_of([&] { session->feed(std::vector<TokenId>{-1}, Logits::all); }), HasSubstr("token -1"));
  EXPECT_EQ(session->length(), 0);
}

TEST_F(TorchSession, RefusesMoreTokensThanTheCacheHolds) {
  const auto session = model_->start({.max_tokens = 10});
  session->feed(std::span(golden_.tokens).first(8), Logits::none);
  EXPECT_THAT(error_of([&] { session->feed(std::span(golden_.tokens).first(3), Logits::none); }),
              HasSubstr("3 tokens after 8 do not fit a cache of 10"));
  EXPECT_EQ(session->length(), 8);
  EXPECT_THAT(error_of([&] { session->truncate(9); }), HasSubstr("cannot truncate"));
}

TEST_F(TorchSession, AnInterruptLeavesTheSequenceAsItWas) {
  const auto session = model_->start({});
  session->feed(std::span(golden_.tokens).first(8), Logits::none);
  request_interrupt();
  EXPECT_THROW(session->feed(std::span(golden_.tokens).subspan(8), Logits::all), Interrupted);
  clear_interrupt();
  EXPECT_EQ(session->length(), 8);
  const auto rest = session->feed(std::span(golden_.tokens).subspan(8), Logits::all);
  EXPECT_LE(relative_difference(rest, golden_.logits.matrix().slice_rows(8, 16)), kLogitTolerance);
}

TEST_F(TorchSession, SaysWhatItHolds) {
  // Tied: table 48 x 32, and per layer q, o 32 x 32; k, v 16 x 32; gate, up, down 14 x 32; norms 3 of 32 less
  // the last.
  const int64_t layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 14 * 32 + 2 * 32;
  EXPECT_EQ(model_->weight_bytes(), 4 * (48 * 32 + 2 * layer + 32));
  EXPECT_EQ(model_->kv_bytes_per_token(), 4 * 2 * 2 * 16);
}

// A model wide enough that products are cut into several slices.
TEST(TorchThreads, ResultsDoNotDependOnTheirNumber) {
  const auto checkpoint = open_checkpoint(std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama");
  const auto model = open_torch_model(*checkpoint);
  std::vector<TokenId> tokens(200);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = TokenId((i * 37 + i * i) % size_t(checkpoint->config().vocab));
  const auto logits_with = [&](int threads) {
    set_thread_count(threads);
    const auto session = model->start({});
    const auto logits = session->feed(tokens, Logits::all);
    return std::vector<float>(logits.data, logits.data + logits.rows * logits.cols);
  };
  const int before = thread_count();
  const auto one = logits_with(1), three = logits_with(3);
  set_thread_count(before);
  EXPECT_EQ(std::memcmp(one.data(), three.data(), one.size() * sizeof(float)), 0);
}

}  // namespace
}  // namespace edgeq
