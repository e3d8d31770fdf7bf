// SPDX-License-Identifier: Apache-2.0
#include "core/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <mutex>

#include "core/cores.h"
#include "core/interrupt.h"

namespace edgeq {
namespace {

std::atomic<int> g_threads{0};

// Keeps the exception of the lowest index, so that which error is reported does not depend on timing more
// than it must.
class FirstFailure {
 public:
  bool any() const { return index_.load(std::memory_order_relaxed) != kNone; }
  void record(int64_t index) {
    const std::lock_guard lock(mutex_);
    if (index >= index_.load()) return;
    index_ = index;
    exception_ = std::current_exception();
  }
  void rethrow_if_any() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::mutex mutex_;
  std::atomic<int64_t> index_{kNone};
  std::exception_ptr exception_;
};

}  // namespace

void set_thread_count(int threads) { g_threads = std::max(1, threads); }

int thread_count() {
  const int set = g_threads.load();
  return set != 0 ? set : available_cores();
}

void parallel_for(int64_t count, const std::function<void(int64_t)>& body, int64_t chunk) {
  FirstFailure failure;
  const auto run = [&](int64_t i) noexcept {
    if (failure.any()) return;
    try {
      check_interrupt();
      body(i);
    } catch (...) {
      failure.record(i);
    }
  };
  const bool serial = omp_in_parallel() != 0 || count <= chunk;
#pragma omp parallel for schedule(dynamic, chunk) num_threads(serial ? 1 : thread_count()) if (!serial)
  for (int64_t i = 0; i < count; ++i) run(i);
  failure.rethrow_if_any();
}

}  // namespace edgeq
