// SPDX-License-Identifier: Apache-2.0
#include "core/cores.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <thread>

namespace edgeq {

std::vector<int> allowed_cores() {
  std::vector<int> cores;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &set)) cores.push_back(core);
#endif
  return cores;
}

int available_cores() {
  const std::vector<int> cores = allowed_cores();
  return cores.empty() ? std::max(1, int(std::thread::hardware_concurrency())) : int(cores.size());
}

}  // namespace edgeq
