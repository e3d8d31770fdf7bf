// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace edgeq {

// Path of a static edgeq-run for an architecture ("aarch64" | "x86_64"): `chosen`, or when that is empty the
// one that
// ./dev build device-arm64 or device left beside this build. Throws Error naming the command that makes it
// when it is not there, is for another architecture, or would need libraries that the device lacks.
std::string device_program(const std::string& architecture, const std::string& chosen);

}  // namespace edgeq
