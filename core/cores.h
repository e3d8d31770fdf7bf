// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

namespace edgeq {

// The cores this process may run on, by number (its affinity mask); empty where the system does not tell.
std::vector<int> allowed_cores();
// How many they are, at least 1.
int available_cores();

}  // namespace edgeq
