// SPDX-License-Identifier: Apache-2.0
#include "core/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace edgeq {
namespace {

using Values = std::map<std::string, std::string>;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Options, ReadsWhatIsThereAndTheDefaultOtherwise) {
  const Options options(Values{{"damp", "0.05"}, {"block", "64"}, {"order", "group"}, {"search", "true"}});
  EXPECT_DOUBLE_EQ(options.number("damp", 0.01, 0, 1), 0.05);
  EXPECT_EQ(options.integer("block", 128, 1, 1024), 64);
  EXPECT_EQ(options.text("order", "none"), "group");
  EXPECT_TRUE(options.boolean("search", false));
  EXPECT_EQ(options.integer("absent", 5, 0, 9), 5);
  EXPECT_NO_THROW(options.finish());
}

TEST(Options, WhatNobodyReadIsRefusedWithTheKnownNames) {
  const Options options(Values{{"dampp", "0.05"}});
  options.number("damp", 0.01, 0, 1);
  options.integer("block", 128, 1, 1024);
  EXPECT_THAT([&] { options.finish(); },
              ThrowsMessage<Error>("unknown option dampp; expected one of block, damp"));
}

TEST(Options, BadValuesNameTheOptionTheValueAndTheRange) {
  for (const char* bad : {"", "x", "1x", "2", "-0.1", "nan", "inf"}) {
    const Options options(Values{{"damp", bad}});
    EXPECT_THAT([&] { options.number("damp", 0, 0, 1); },
                ThrowsMessage<Error>(HasSubstr("expected a number from 0 to 1")))
        << bad;
  }
  const Options options(Values{{"search", "yes"}});
  EXPECT_THAT([&] { options.boolean("search", false); },
              ThrowsMessage<Error>(HasSubstr("expected true or false")));
}

}  // namespace
}  // namespace edgeq
