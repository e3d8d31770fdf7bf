// SPDX-License-Identifier: Apache-2.0
// The runtime's own threads. One decoded token passes some two hundred barriers, so waiting is what matters:
// a waiter spins briefly (the others are about to arrive), then yields its core (somebody else needs it),
// then sleeps (nothing is going on). Not OpenMP, whose spinning collapses when cores are shared.
//
// Threads that meet at barriers advance only while all of them have a core. Where others want the cores too,
// one thread can be faster than several: when the caller finds that it waited for more than its threads can
// win, the pool leaves the work to the caller alone for a while, and then tries again.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace edgeq {

class ThreadPool {
 public:
  // `threads` counts the caller of run(); 0 means available_cores(). Error when negative or above
  // kMaxThreads, or when the system refuses a thread.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  static constexpr int kMaxThreads = 1024;
  int size() const { return size_; }

  // Runs body(thread, threads) once for each thread in [0, threads), the caller being thread 0, and returns
  // when all have ended; threads is size(), or 1 while the cores are too busy. What a body wrote is visible
  // to the caller afterwards. Not reentrant, one caller at a time.
  template <class Body>
  void run(const Body& body) noexcept {
    static_assert(std::is_nothrow_invocable_v<const Body&, int, int>, "a body of the pool is noexcept");
    run_task({&body, [](const void* callable, int thread, int threads) noexcept {
                (*static_cast<const Body*>(callable))(thread, threads);
              }});
  }
  // Inside the body of `thread`: waits until every thread of the run has called it equally often.
  void barrier(int thread) noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  struct Task {
    const void* callable = nullptr;
    void (*call)(const void*, int, int) noexcept = nullptr;
  };
  void start_workers();
  void stop() noexcept;
  void run_task(const Task& task) noexcept;
  void judge(Clock::duration run, Clock::time_point now) noexcept;
  void work(int thread) noexcept;
  void wait_while(const std::atomic<uint32_t>& word, uint32_t old) const noexcept;

  int size_ = 1;
  int spins_ = 0;
  Task task_;
  int active_ = 1;  // threads of the current run
  // The caller's: time in runs of all threads since the last judgement, how much of it was waiting, and until
  // when it works alone.
  Clock::duration together_{}, waited_{};
  Clock::time_point alone_until_{};
  // On lines of their own: the waiters of one word are not disturbed by writes to another.
  alignas(64) std::atomic<uint32_t> run_number_{0};
  alignas(64) std::atomic<uint32_t> barrier_number_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<bool> stopping_{false};
  std::vector<std::jthread> workers_;
};

}  // namespace edgeq
