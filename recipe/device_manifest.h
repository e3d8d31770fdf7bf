// SPDX-License-Identifier: Apache-2.0
// manifest.json of a device bundle: what is in it, for which device, and what to expect there. The bundle's
// script reads it with sed, so a value that it needs stands on a line of its own under a key that occurs
// once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "recipe/device.h"

namespace edgeq {

// What the model reaches on a text, as `edgeq-run eval` measures it on the device too.
struct ExpectedQuality {
  double perplexity = 0;
  std::string text, text_hash;
  int64_t context = 0, predictions = 0;
};

struct DeviceManifest {
  std::string version;  // of edgeq
  Device device;
  std::string model, scheme, layout;
  DeviceNeeds needs;
  int64_t bytes_per_token = 0;                              // read by one decode step at half the context
  std::optional<ExpectedQuality> quality;                   // where a text is known
  std::string prompt, tokens;                               // greedy continuation, ids separated by spaces
  std::vector<std::pair<std::string, std::string>> sha256;  // file name, checksum
};

std::string manifest_json(const DeviceManifest& manifest);

}  // namespace edgeq
