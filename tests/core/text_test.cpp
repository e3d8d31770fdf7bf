// SPDX-License-Identifier: Apache-2.0
#include "core/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace edgeq {
namespace {

TEST(Text, SplitKeepsEmptyPieces) {
  EXPECT_THAT(split("a,,b,", ','), testing::ElementsAre("a", "", "b", ""));
  EXPECT_THAT(split("", ','), testing::ElementsAre(""));
}

TEST(Text, GlobMatchesTheWholeText) {
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("*.down_proj", "layers.3.mlp.down_proj"));
  EXPECT_TRUE(glob_match("layers.?.attn.*", "layers.3.attn.q_proj"));
  EXPECT_TRUE(glob_match("*a*b*", "xxaxxbxx"));
  EXPECT_TRUE(glob_match("head", "head"));
  EXPECT_FALSE(glob_match("head", "heads"));
  EXPECT_FALSE(glob_match("*.down_proj", "layers.3.mlp.down_proj.bias"));
  EXPECT_FALSE(glob_match("layers.?.attn", "layers.13.attn"));
  EXPECT_FALSE(glob_match("", "x"));
  EXPECT_TRUE(glob_match("a*", "a*b"));  // a star in the text is an ordinary character
}

TEST(Text, BytesAndDurationsReadAsPeopleWriteThem) {
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(91700000), "91.7 MB");
  EXPECT_EQ(bytes_text(999960), "1.0 MB");
  EXPECT_EQ(duration_text(3.14), "3.1 s");
  EXPECT_EQ(duration_text(59.6), "1 min 0 s");
  EXPECT_EQ(duration_text(200), "3 min 20 s");
  EXPECT_EQ(duration_text(3900), "1 h 5 min");
}

TEST(Text, NearestNameFindsTypingErrorsAndNothingElse) {
  const std::vector<std::string> names{"calibration", "rules", "prove"};
  EXPECT_EQ(nearest_name("calibraton", names), "calibration");
  EXPECT_EQ(nearest_name("rule", names), "rules");
  EXPECT_FALSE(nearest_name("export", names));
}

}  // namespace
}  // namespace edgeq
