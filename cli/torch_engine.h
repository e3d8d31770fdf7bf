// SPDX-License-Identifier: Apache-2.0
// Loads the float engine (cli/torch_module.h) when a command needs it.
#pragma once

#include <span>
#include <string>

#include "cli/torch_module.h"

namespace edgeq {

// The module of the first folder that has it. It stays loaded. Throws Error: in none of them, its LibTorch is
// missing, or built for another edgeq.
const TorchModule& load_torch_module(std::span<const std::string> folders);

// The module beside the running executable or in ../lib/edgeq; loaded at the first call.
const TorchModule& torch_module();

}  // namespace edgeq
