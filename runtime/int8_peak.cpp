// SPDX-License-Identifier: Apache-2.0
// The ceiling that prefill is measured against.
#include <algorithm>
#include <atomic>

#include "core/timer.h"
#include "runtime/kernels/kernel_table.h"
#include "runtime/runtime.h"
#include "runtime/thread_pool.h"

namespace edgeq {
namespace {

// Multiply-adds a second of all threads together over loops that take about `seconds`.
double rate(ThreadPool& pool, int64_t loops) {
  std::atomic<int64_t> done{0};
  const Timer timer;
  pool.run([&](int, int) noexcept { done += kernels().int8_peak(loops); });
  return double(done.load()) / timer.seconds();
}

}  // namespace

double probe_int8_peak(int threads) {
  constexpr int kPasses = 8;
  constexpr double kPassSeconds = 0.004;
  ThreadPool pool(threads);
  int64_t loops = 1000;
  for (Timer timer; kernels().int8_peak(loops), timer.seconds() < kPassSeconds / 2; timer = Timer())
    loops *= 2;
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) best = std::max(best, rate(pool, loops));
  return best;
}

}  // namespace edgeq
