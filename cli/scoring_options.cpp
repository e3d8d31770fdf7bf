// SPDX-License-Identifier: Apache-2.0
#include "cli/scoring_options.h"

#include <CLI/CLI.hpp>

namespace edgeq {

void add_window_options(CLI::App& command, int64_t& context, int64_t& windows) {
  command.add_option("--context", context, "tokens of a window")
      ->check(CLI::Range(int64_t(4), int64_t(1) << 20))
      ->capture_default_str();
  command.add_option("--windows", windows, "windows from the start of the text, 0: all")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 30))
      ->capture_default_str();
}

void add_task_options(CLI::App& command, TaskOptions& options) {
  command.add_option("--limit", options.limit, "items of each task, from the start, 0: all")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 30))
      ->capture_default_str();
  command.add_option("--delimiter", options.delimiter,
                     "between context and choice, a space unless told, such as $'\\nAnswer: '");
}

}  // namespace edgeq
