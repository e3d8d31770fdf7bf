// SPDX-License-Identifier: Apache-2.0
// manifest.json of a device bundle: what is in it, for which device, and what to expect there. The bundle's
// script reads it with sed, so a value that it needs stands on a line of its own under a key that occurs
// once.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "recipe/device.h"

namespace edgeq {

struct DeviceManifest {
  std::string version;  // of edgeq
  Device device;
  std::string model, scheme, layout;
  DeviceNeeds needs;
  int64_t bytes_per_token = 0;                              // read by one decode step at half the context
  std::string prompt, tokens;                               // greedy continuation, ids separated by spaces
  std::vector<std::pair<std::string, std::string>> sha256;  // file name, checksum
};

std::string manifest_json(const DeviceManifest& manifest);

}  // namespace edgeq
