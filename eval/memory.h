// SPDX-License-Identifier: Apache-2.0
// Memory of this process as the system counts it. Figures for reports are taken in a child process.
#pragma once

#include <cstdint>

namespace edgeq {

// Peak resident set of this process in bytes (VmHWM); 0 where the system does not tell.
int64_t peak_rss_bytes();
// Resident set now, in bytes.
int64_t current_rss_bytes();

}  // namespace edgeq
