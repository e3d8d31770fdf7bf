// SPDX-License-Identifier: Apache-2.0
// Cooperative interruption: `cli` calls request_interrupt from its signal handler; long loops call
// check_interrupt, and the Interrupted they throw unwinds through every destructor, so nothing half-written
// stays.
#pragma once

namespace edgeq {

void request_interrupt() noexcept;  // async-signal-safe
void clear_interrupt() noexcept;
void check_interrupt();  // throws Interrupted

}  // namespace edgeq
