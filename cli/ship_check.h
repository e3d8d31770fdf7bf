// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/run_check.h"
#include "recipe/ship.h"

namespace edgeq {

// Runs a staged file beside the codes that it was written from. Throws Error when they differ by more than
// kSameFunctionKl.
RunCheck run_check(int threads);

}  // namespace edgeq
