// SPDX-License-Identifier: Apache-2.0
// Cooperative interruption: `cli` calls request_interrupt from its signal handler; long loops call
// check_interrupt, and the Interrupted they throw unwinds through every destructor, so nothing half-written
// stays.
#pragma once

namespace edgeq {

void request_interrupt() noexcept;  // async-signal-safe
void clear_interrupt() noexcept;
void check_interrupt();  // throws Interrupted, unless one is held

// While one lives, an interrupt waits: for work that would leave things half changed.
class InterruptHold {
 public:
  InterruptHold() noexcept;
  ~InterruptHold();
  InterruptHold(const InterruptHold&) = delete;
  InterruptHold& operator=(const InterruptHold&) = delete;
};

}  // namespace edgeq
