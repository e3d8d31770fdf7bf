// SPDX-License-Identifier: Apache-2.0
// Counts what this program allocates, in every thread.
#pragma once

#include <cstdint>

namespace edgeq {

// Calls of malloc, calloc and realloc so far.
int64_t allocations();

}  // namespace edgeq
