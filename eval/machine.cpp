// SPDX-License-Identifier: Apache-2.0
#include "eval/machine.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <fstream>

#include "core/cores.h"

namespace edgeq {

std::string today() { return fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr))); }

std::string machine_name() {
  std::string name = "unknown processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name") && !line.starts_with("Hardware")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) name = line.substr(colon + 2);
    break;
  }
  const int cores = available_cores();
  return fmt::format("{}, {} {}", name, cores, cores == 1 ? "core" : "cores");
}

}  // namespace edgeq
