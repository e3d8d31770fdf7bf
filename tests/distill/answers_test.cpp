// SPDX-License-Identifier: Apache-2.0
#include "distill/answers.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace edgeq {
namespace {

TEST(CheckableAnswer, ReadsEveryFormOfANumber) {
  const std::vector<std::pair<std::string, Answer>> forms{
      {"#### 42", {42, 1}},
      {"6 x 7 = 42\n#### 42\n", {42, 1}},
      {"####42", {42, 1}},
      {"#### -42", {-42, 1}},
      {"#### \u221242", {-42, 1}},
      {"#### $42", {42, 1}},
      {"#### -$42", {-42, 1}},
      {"#### $-42", {-42, 1}},
      {"#### \u20ac42", {42, 1}},
      {"#### 42%", {42, 1}},
      {"#### 42 %", {42, 1}},
      {"#### 42.", {42, 1}},
      {"#### 42.00", {42, 1}},
      {"#### 0042", {42, 1}},
      {"#### 42 apples", {42, 1}},
      {"#### 42kg", {42, 1}},
      {"#### The answer is 42, not 41", {42, 1}},  // the first on the line
      {"#### 1,234,567", {1234567, 1}},
      {"#### 1,234.50", {2469, 2}},
      {"#### 3.5", {7, 2}},
      {"#### .5", {1, 2}},
      {"#### 7/2", {7, 2}},
      {"#### 14/4", {7, 2}},
      {"#### 3 1/2", {7, 2}},
      {"#### 1e3", {1000, 1}},
      {"#### 25e-1", {5, 2}},
      {"#### 41\nNo, once more.\n#### 42", {42, 1}},  // the last mark
      {"#### 42\nThat is 6 times 7.", {42, 1}},
      {"The answer is 42.", {42, 1}},
      {"He has 6 boxes of 7, so 42", {42, 1}},
      {"48/2 = 24, and 24+18=42.", {42, 1}},
      {"so **42**", {42, 1}},
      {"\\boxed{42}", {42, 1}},
      {"<<48-6=42>>42", {42, 1}},
      {"It costs $1,250.75!", {5003, 4}},
      {"100-58", {58, 1}},  // a difference, no sign
      {"f(2)-42", {42, 1}},
      {"it fell to -42", {-42, 1}},
      {"x = -42", {-42, 1}},
      {"(-42)", {-42, 1}},
      {"1, 2, 42", {42, 1}},  // commas between numbers
      {"12,34", {34, 1}},     // no thousands
      {"due on 3/4/2020", {2020, 1}},
      {"42 is what H2O says", {42, 1}},
      {"0/5", {0, 1}},
      {"-0", {0, 1}},
      {"5/0", {0, 1}},  // no fraction: two numbers
      {"9223372036854775807", {INT64_MAX, 1}},
  };
  for (const auto& [text, expected] : forms) {
    const auto found = checkable_answer(text);
    ASSERT_TRUE(found) << text;
    EXPECT_EQ(found->numerator, expected.numerator) << text;
    EXPECT_EQ(found->denominator, expected.denominator) << text;
  }
}

TEST(CheckableAnswer, IsNothingWhereThereIsNoNumber) {
  for (const std::string text :
       {"", "none", "####", "#### none", "7 boxes\n#### none", "H2O", "-", "$", ".", ",", "#### \n42"}) {
    EXPECT_FALSE(checkable_answer(text)) << text;
  }
}

TEST(CheckableAnswer, TooLargeANumberIsNoneRatherThanAnother) {
  EXPECT_FALSE(checkable_answer("#### 9223372036854775808"));
  EXPECT_FALSE(checkable_answer("#### 1e99"));
  EXPECT_FALSE(checkable_answer("#### 0.00000000000000000000001"));
  EXPECT_FALSE(checkable_answer("first 7, then 99999999999999999999999999999999999999999999999999"));
}

TEST(CheckableAnswer, ComparesByValue) {
  const auto same = [](const char* a, const char* b) {
    const auto x = checkable_answer(a), y = checkable_answer(b);
    return x && y && *x == *y;
  };
  EXPECT_TRUE(same("#### 1,000", "the total is $1000."));
  EXPECT_TRUE(same("#### 3.50", "7/2"));
  EXPECT_TRUE(same("#### 0.2", "1/5"));
  // What must not pass.
  EXPECT_FALSE(same("#### 42", "#### 420"));
  EXPECT_FALSE(same("#### 42", "#### -42"));
  EXPECT_FALSE(same("#### 42", "#### 4.2"));
  EXPECT_FALSE(same("#### 42", "#### 42.01"));
  EXPECT_FALSE(same("#### 1,000", "#### 1.000"));
  EXPECT_FALSE(same("#### 50%", "#### 0.5"));
  EXPECT_FALSE(same("#### 1/3", "#### 0.333"));
  EXPECT_FALSE(same("#### 42", "no number"));
}

}  // namespace
}  // namespace edgeq
