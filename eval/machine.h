// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace edgeq {

// The processor's name and the number of cores this process may use: "AMD EPYC, 2 cores".
std::string machine_name();
// The date of a report, UTC: "2026-01-31".
std::string today();

}  // namespace edgeq
