// SPDX-License-Identifier: Apache-2.0
// What this CPU, and the operating system on it, can execute. Compiled at the platform's baseline.
#pragma once

#include "runtime/kernels/kernel_abi.h"

namespace edgeq {

// CpuFeature flags.
uint32_t cpu_features();

}  // namespace edgeq
