// SPDX-License-Identifier: Apache-2.0
#include "eval/memory.h"

#include <fstream>
#include <string>

namespace edgeq {
namespace {

// A line of /proc/self/status such as "VmHWM:     12345 kB", in bytes.
int64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.compare(0, key.size(), key) == 0) return std::stoll(line.substr(key.size())) * 1024;
  return 0;
}

}  // namespace

int64_t peak_rss_bytes() { return status_bytes("VmHWM:"); }
int64_t current_rss_bytes() { return status_bytes("VmRSS:"); }

}  // namespace edgeq
