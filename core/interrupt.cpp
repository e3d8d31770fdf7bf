// SPDX-License-Identifier: Apache-2.0
#include "core/interrupt.h"

#include <atomic>

#include "core/error.h"

namespace edgeq {
namespace {

std::atomic<bool> g_interrupted{false};
std::atomic<int> g_holds{0};  // of all threads: those of a held parallel_for wait too
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

}  // namespace

void request_interrupt() noexcept { g_interrupted.store(true, std::memory_order_relaxed); }
void clear_interrupt() noexcept { g_interrupted.store(false, std::memory_order_relaxed); }

void check_interrupt() {
  if (g_interrupted.load(std::memory_order_relaxed) && g_holds.load(std::memory_order_relaxed) == 0)
    throw Interrupted();
}

InterruptHold::InterruptHold() noexcept { g_holds.fetch_add(1, std::memory_order_relaxed); }
InterruptHold::~InterruptHold() { g_holds.fetch_sub(1, std::memory_order_relaxed); }

}  // namespace edgeq
