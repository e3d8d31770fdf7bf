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
  for (const int size : {1, 2, 3, 7}) {
    ThreadPool pool(size);
    ASSERT_EQ(pool.size(), size);
    for (int i = 0; i < 100; ++i) {
      std::vector<int> runs(size_t(size), 0);
      int active = 0;
      pool.run([&](int thread, int threads) noexcept {
        ++runs[size_t(thread)];
        if (thread == 0) active = threads;
      });
      EXPECT_TRUE(active == size || active == 1) << active;
      for (int t = 0; t < size; ++t) EXPECT_EQ(runs[size_t(t)], t < active ? 1 : 0);
    }
  }
}

TEST(ThreadPool, ZeroMeansTheCoresThisProcessMayRunOn) {
  EXPECT_EQ(ThreadPool(0).size(), available_cores());
  EXPECT_GE(available_cores(), 1);
}

TEST(ThreadPool, TheCallerIsThreadZero) {
  ThreadPool pool(3);
  std::thread::id zero;
  pool.run([&](int t, int) noexcept {
    if (t == 0) zero = std::this_thread::get_id();
  });
  EXPECT_EQ(zero, std::this_thread::get_id());
}

// Each thread reads what its neighbour wrote before the barrier: without one, a stale value would be found.
TEST(ThreadPool, ABarrierShowsWhatTheOthersWroteBefore) {
  constexpr int kThreads = 4, kRounds = 500;
  ThreadPool pool(kThreads);
  std::vector<int> round_of(kThreads * 16, 0);  // a cache line each
  std::atomic<int> wrong = 0;
  pool.run([&](int t, int threads) noexcept {
    for (int round = 1; round <= kRounds; ++round) {
      round_of[size_t(t) * 16] = round;
      pool.barrier(t);
      if (round_of[size_t((t + 1) % threads) * 16] != round) ++wrong;
      pool.barrier(t);
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, WakesWorkersThatWentToSleep) {
  ThreadPool pool(2);
  std::atomic<int> runs = 0;
  int expected = 0;
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pool.run([&](int thread, int threads) noexcept {
      ++runs;
      if (thread == 0) expected += threads;
    });
  }
  EXPECT_EQ(runs, expected);
}

// A second thread that takes ten times as long as the caller stands for one that rarely gets a core.
TEST(ThreadPool, LeavesTheWorkToTheCallerWhileAnotherThreadHoldsItUp) {
  ThreadPool pool(2);
  std::vector<int> threads_of_run;
  const auto slow_run = [&](int thread, int threads) noexcept {
    std::this_thread::sleep_for(std::chrono::milliseconds(thread == 0 ? 1 : 10));
    if (thread == 0) threads_of_run.push_back(threads);
  };
  for (int i = 0; i < 10; ++i) pool.run(slow_run);
  EXPECT_EQ(threads_of_run.front(), 2);
  EXPECT_EQ(threads_of_run.back(), 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(450));
  pool.run(slow_run);
  EXPECT_EQ(threads_of_run.back(), 2) << "it tries again after a while";
}

// Negative control: equally long work stays shared.
TEST(ThreadPool, KeepsAllThreadsWhileTheyShareTheWorkEvenly) {
  ThreadPool pool(2);
  int alone = 0;
  for (int i = 0; i < 10; ++i)
    pool.run([&](int thread, int threads) noexcept {
      std::this_thread::sleep_for(std::chrono::milliseconds(thread == 0 ? 40 : 20));
      if (thread == 0 && threads == 1) ++alone;
    });
  EXPECT_EQ(alone, 0);
}

TEST(ThreadPool, RefusesAnAbsurdNumberOfThreads) {
  EXPECT_EQ(error_of([] { ThreadPool pool(-1); }), "-1 threads asked for, expected 0 (all cores) to 1024");
  EXPECT_EQ(error_of([] { ThreadPool pool(5000); }),
            "5000 threads asked for, expected 0 (all cores) to 1024");
}

}  // namespace
}  // namespace edgeq
