// SPDX-License-Identifier: Apache-2.0
#include "runtime/thread_pool.h"
#include "core/cores.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "tests/support/message.h"

namespace edgeq {
namespace {

TEST(ThreadPool, RunsTheBodyOnceOnEachThread) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    std::vector<int> runs(size_t(threads), 0);
    for (int i = 0; i < 100; ++i) pool.run([&](int t) noexcept { ++runs[size_t(t)]; });
    EXPECT_EQ(runs, std::vector<int>(size_t(threads), 100));
  }
}

TEST(ThreadPool, ZeroMeansTheCoresThisProcessMayRunOn) {
  EXPECT_EQ(ThreadPool(0).size(), available_cores());
  EXPECT_GE(available_cores(), 1);
}

TEST(ThreadPool, TheCallerIsThreadZero) {
  ThreadPool pool(3);
  std::thread::id zero;
  pool.run([&](int t) noexcept {
    if (t == 0) zero = std::this_thread::get_id();
  });
  EXPECT_EQ(zero, std::this_thread::get_id());
}

// Each thread reads what its neighbour wrote before the barrier: without one, a stale value would be found.
TEST(ThreadPool, ABarrierShowsWhatTheOthersWroteBefore) {
  constexpr int kThreads = 4, kRounds = 2000;
  ThreadPool pool(kThreads);
  std::vector<int> round_of(kThreads * 16, 0);  // a cache line each
  std::atomic<int> wrong = 0;
  pool.run([&](int t) noexcept {
    for (int round = 1; round <= kRounds; ++round) {
      round_of[size_t(t) * 16] = round;
      pool.barrier();
      if (round_of[size_t((t + 1) % kThreads) * 16] != round) ++wrong;
      pool.barrier();
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, WakesWorkersThatWentToSleep) {
  ThreadPool pool(2);
  std::atomic<int> runs = 0;
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pool.run([&](int) noexcept { ++runs; });
  }
  EXPECT_EQ(runs, 6);
}

TEST(ThreadPool, RefusesAnAbsurdNumberOfThreads) {
  EXPECT_EQ(error_of([] { ThreadPool pool(-1); }), "-1 threads asked for, expected 0 (all cores) to 1024");
  EXPECT_EQ(error_of([] { ThreadPool pool(5000); }),
            "5000 threads asked for, expected 0 (all cores) to 1024");
}

}  // namespace
}  // namespace edgeq
