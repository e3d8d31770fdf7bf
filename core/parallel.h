// SPDX-License-Identifier: Apache-2.0
// parallel_for: the only place that knows OpenMP. Results never depend on the number of threads: a body
// writes only to what its index owns, and reductions are done by the caller in index order.
#pragma once

#include <cstdint>
#include <functional>

namespace edgeq {

// Threads that parallel_for uses from now on (at least 1). Default: the cores this process may run on.
void set_thread_count(int threads);
int thread_count();

// Runs body(i) for i in [0, count), in any order, on up to thread_count() threads; `chunk` consecutive
// indices go to one thread at a time. The exception of the lowest failing index that ran is rethrown, after
// all threads have stopped; indices not yet started are then skipped. Calls from inside a body run serially.
// Throws Interrupted when an interrupt is pending.
void parallel_for(int64_t count, const std::function<void(int64_t)>& body, int64_t chunk = 1);

}  // namespace edgeq
