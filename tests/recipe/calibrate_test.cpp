// SPDX-License-Identifier: Apache-2.0
#include "recipe/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

class CalibrationTexts : public testing::Test {
 protected:
  static const Tokenizer& tokenizer() {
    static const Tokenizer tokenizer =
        Tokenizer::from_folder(std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama");
    return tokenizer;
  }
  static Windows of_sevens(int64_t count, int64_t length) {
    return {length, std::vector<TokenId>(size_t(count * length), 7)};
  }
  TempDir dir_;
};

TEST_F(CalibrationTexts, TheDefaultCorpusIsTakenWhenNoTextIsGivenAndIsLongEnoughForTheRecipes) {
  const Calibration calibration = read_calibration({}, tokenizer());
  EXPECT_EQ(calibration.name(), "default");
  EXPECT_EQ(calibration.windows.count(), 64);
  EXPECT_EQ(calibration.windows.length, 512);
  EXPECT_EQ(read_calibration({.corpus = {"default"}}, tokenizer()).windows.tokens,
            calibration.windows.tokens);
}

TEST_F(CalibrationTexts, SeveralTextsGiveTheirWindowsInTurn) {
  const std::string text = dir_.write("a.txt", std::string(200, 'x'));
  const CalibrationSpec spec{.corpus = {text, "self"}, .windows = 3, .tokens = 4};
  const Calibration calibration = read_calibration(spec, tokenizer(), of_sevens);
  EXPECT_EQ(calibration.name(), "a.txt + self");
  const Corpus corpus = read_corpus(text, tokenizer());
  const Windows alone = cut_windows(corpus, 4, 2);
  EXPECT_TRUE(std::ranges::equal(calibration.windows[0], alone[0]));
  EXPECT_THAT(calibration.windows[1], testing::Each(7));
  EXPECT_TRUE(std::ranges::equal(calibration.windows[2], alone[1]));
  EXPECT_EQ(read_calibration({.corpus = {text}, .windows = 1, .tokens = 4}, tokenizer()).hash(), corpus.hash);
  EXPECT_NE(calibration.hash(), corpus.hash);
}

TEST_F(CalibrationTexts, WhatCannotBeHadIsRefused) {
  EXPECT_THAT(error_of([&] { read_calibration({.corpus = {"self"}}, tokenizer()); }),
              HasSubstr("the model itself"));
  EXPECT_THAT(error_of([&] {
                read_calibration({.corpus = {"self", "default"}, .windows = 1}, tokenizer());
              }),
              HasSubstr("1 windows of 2 calibration texts"));
  EXPECT_THAT(error_of([&] { read_calibration({.windows = 100000}, tokenizer()); }),
              HasSubstr("corpus default"));
}

}  // namespace
}  // namespace edgeq
