// SPDX-License-Identifier: Apache-2.0
// What the machine can do at best, measured beside the kernels: their own multiply instruction in a loop on
// registers only, and a plain read of memory.
#pragma once

namespace edgeq {

// Registers benchmarks "limit/...": those this CPU can run, on 1 and 2 threads.
void register_limits();

}  // namespace edgeq
