// SPDX-License-Identifier: Apache-2.0
#include "core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"

namespace edgeq {
namespace {

class Parallel : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_thread_count(GetParam()); }
  void TearDown() override { clear_interrupt(); }
};

TEST_P(Parallel, VisitsEveryIndexOnce) {
  std::vector<std::atomic<int>> visits(1000);
  parallel_for(
      1000, [&](int64_t i) { ++visits[size_t(i)]; }, 7);
  for (const auto& v : visits) ASSERT_EQ(v, 1);
}

TEST_P(Parallel, CarriesAnExceptionOut) {
  try {
    parallel_for(100, [](int64_t i) {
      if (i == 40) throw Error("site 40 failed");
    });
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "site 40 failed");
  }
}

TEST_P(Parallel, InnerLoopsRunInOrderOnTheirThread) {
  std::vector<std::vector<int64_t>> seen(8);
  parallel_for(8, [&](int64_t i) { parallel_for(5, [&](int64_t j) { seen[size_t(i)].push_back(j); }); });
  for (const auto& s : seen) EXPECT_EQ(s, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

TEST_P(Parallel, FinishesUnderAHoldAndStopsAfterIt) {
  std::vector<int> done(1000, 0);
  {
    const InterruptHold hold;
    parallel_for(1000, [&](int64_t i) {
      request_interrupt();
      done[size_t(i)] = 1;
    });
  }
  EXPECT_EQ(std::accumulate(done.begin(), done.end(), 0), 1000);
  EXPECT_THROW(check_interrupt(), Interrupted);
}

TEST_P(Parallel, StopsWhenInterrupted) {
  std::atomic<int> ran = 0;
  const auto body = [&](int64_t) {
    ++ran;
    request_interrupt();
  };
  EXPECT_THROW(parallel_for(1000, body), Interrupted);
  EXPECT_LE(ran, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Threads, Parallel, testing::Values(1, 2, 5));

}  // namespace
}  // namespace edgeq
