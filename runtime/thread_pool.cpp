// SPDX-License-Identifier: Apache-2.0
#include "runtime/thread_pool.h"

#include <fmt/format.h>
#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include <algorithm>
#include <system_error>

#include "core/cores.h"
#include "core/error.h"

namespace edgeq {
namespace {

// About 20 us of waiting: longer than the unevenness of one stage of a layer, far shorter than a time slice.
constexpr int kSpins = 1000;
// Then some 50 us of offering the core before the thread goes to sleep and pays for being woken.
constexpr int kYields = 100;
// How much work together is judged at once, and for how long the caller then works alone: trying again costs
// a twentieth at worst.
constexpr std::chrono::milliseconds kJudged{20}, kAlone{400};

void pause_core() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // `yield` is a no-op on most cores; isb really waits some cycles
#endif
}

#if defined(__linux__)
void pin_to_core(std::jthread& thread, int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);  // a refusal only costs speed
}
#endif

}  // namespace

ThreadPool::ThreadPool(int threads) {
  if (threads < 0 || threads > kMaxThreads)
    throw Error(fmt::format("{} threads asked for, expected 0 (all cores) to {}", threads, kMaxThreads));
  const int cores = available_cores();
  size_ = threads == 0 ? cores : threads;
  spins_ = size_ <= cores ? kSpins : 0;  // more threads than cores: the awaited one may need this core
  start_workers();
#if defined(__linux__)
  // Pinned only when the pool takes every core it may use: no other placement is then better, and two threads
  // can never be put on one core. With fewer threads the scheduler knows which cores are free. The caller's
  // thread is not ours to pin: its core is the first, which no worker gets.
  const std::vector<int> allowed = allowed_cores();
  if (size_ > 1 && size_t(size_) == allowed.size())
    for (size_t i = 1; i < allowed.size(); ++i) pin_to_core(workers_[i - 1], allowed[i]);
#endif
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::start_workers() {
  try {
    for (int i = 1; i < size_; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error& error) {
    stop();
    throw Error(fmt::format("cannot start thread {} of {}: {}", workers_.size() + 2, size_, error.what()));
  }
}

void ThreadPool::stop() noexcept {
  stopping_.store(true, std::memory_order_relaxed);
  run_number_.fetch_add(1, std::memory_order_release);
  run_number_.notify_all();
}

void ThreadPool::wait_while(const std::atomic<uint32_t>& word, uint32_t old) const noexcept {
  for (int i = 0; i < spins_; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    pause_core();
  }
  for (int i = 0; i < kYields; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    std::this_thread::yield();
  }
  while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
}

void ThreadPool::barrier(int thread) noexcept {
  if (active_ == 1) return;
  const uint32_t number = barrier_number_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    barrier_number_.store(number + 1, std::memory_order_release);
    barrier_number_.notify_all();
  } else if (thread != 0) {
    wait_while(barrier_number_, number);
  } else {
    const Clock::time_point start = Clock::now();
    wait_while(barrier_number_, number);
    waited_ += Clock::now() - start;
  }
}

void ThreadPool::run_task(const Task& task) noexcept {
  const Clock::time_point start = Clock::now();
  active_ = start < alone_until_ ? 1 : size_;
  if (active_ == 1) {
    task.call(task.callable, 0, 1);
    return;
  }
  task_ = task;
  run_number_.fetch_add(1, std::memory_order_release);
  run_number_.notify_all();
  task.call(task.callable, 0, size_);
  barrier(0);
  const Clock::time_point end = Clock::now();
  judge(end - start, end);
}

// The caller did 1/size() of the work in the time that it did not wait: alone it would have needed size()
// times as long.
void ThreadPool::judge(Clock::duration run, Clock::time_point now) noexcept {
  together_ += run;
  if (together_ < kJudged) return;
  if ((together_ - waited_) * size_ < together_) alone_until_ = now + kAlone;
  together_ = waited_ = {};
}

void ThreadPool::work(int thread) noexcept {
  for (uint32_t seen = 0;; ++seen) {
    wait_while(run_number_, seen);
    if (stopping_.load(std::memory_order_relaxed)) return;
    task_.call(task_.callable, thread, size_);
    barrier(thread);
  }
}

}  // namespace edgeq
