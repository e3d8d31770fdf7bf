// SPDX-License-Identifier: Apache-2.0
// parallel_for of the device build, which has no OpenMP: on the calling thread. Nothing that the runtime
// waits for goes through it; it has threads of its own.
#include "core/interrupt.h"
#include "core/parallel.h"

namespace edgeq {

void set_thread_count(int) {}
int thread_count() { return 1; }

void parallel_for(int64_t count, const std::function<void(int64_t)>& body, int64_t) {
  for (int64_t i = 0; i < count; ++i) {
    check_interrupt();
    body(i);
  }
}

}  // namespace edgeq
