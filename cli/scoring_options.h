// SPDX-License-Identifier: Apache-2.0
// What `edgeq eval` and `edgeq compare` score on, as options of a command.
#pragma once

#include <cstdint>

#include "eval/tasks.h"

namespace CLI {  // NOLINT(readability-identifier-naming): not ours to name
class App;
}

namespace edgeq {

// --context and --windows.
void add_window_options(CLI::App& command, int64_t& context, int64_t& windows);
// --limit and --delimiter.
void add_task_options(CLI::App& command, TaskOptions& options);

}  // namespace edgeq
