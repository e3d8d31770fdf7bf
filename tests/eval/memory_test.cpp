// SPDX-License-Identifier: Apache-2.0
#include "eval/memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

namespace edgeq {
namespace {

TEST(Memory, SeesWhatIsTouchedAndRemembersThePeak) {
  constexpr int64_t kBytes = 64 << 20, kOther = 4 << 20;  // other pages that come and go meanwhile
  const int64_t before = current_rss_bytes();
  if (before == 0) GTEST_SKIP() << "the system does not tell";
  auto memory = std::make_unique_for_overwrite<char[]>(kBytes);
  EXPECT_LT(current_rss_bytes(), before + kOther) << "memory that nobody touched was counted";
  std::memset(memory.get(), 1, kBytes);
  EXPECT_NE(memory[kBytes / 2], 0);
  EXPECT_GT(current_rss_bytes(), before + kBytes - kOther);
  memory.reset();
  EXPECT_LT(current_rss_bytes(), before + kOther);
  EXPECT_GT(peak_rss_bytes(), before + kBytes - kOther);
}

}  // namespace
}  // namespace edgeq
