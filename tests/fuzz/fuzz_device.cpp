// SPDX-License-Identifier: Apache-2.0
// Device files from arbitrary bytes: only Error may come out, and what is accepted can be computed with.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "recipe/device.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const edgeq::Device device =
        edgeq::parse_device({reinterpret_cast<const char*>(data), size}, "input.yaml");
    EDGEQ_CHECK(device.threads > 0 && device.usable_bytes() >= 0,
                "an accepted device has threads and memory");
    EDGEQ_CHECK(std::isfinite(device.bandwidth) && device.bandwidth > 0,
                "an accepted device has a bandwidth");
  } catch (const edgeq::Error&) {
  }
  return 0;
}
