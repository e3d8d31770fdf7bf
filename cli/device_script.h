// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace edgeq {

// cli/device_check.sh, compiled in.
extern const std::string_view kDeviceScript;

}  // namespace edgeq
