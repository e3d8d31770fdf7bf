// SPDX-License-Identifier: Apache-2.0
// The commands of both binaries. Each adds itself to a CLI11 application; its body runs after parsing, prints
// to stdout and throws Error.
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace CLI {
class App;
}

namespace edgeq {

// Both binaries.
void add_run_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_inspect_command(CLI::App& app);

// edgeq only.
void add_quantize_command(CLI::App& app);
void add_prune_command(CLI::App& app);
void add_traces_command(CLI::App& app);
void add_distill_command(CLI::App& app);
void add_compare_command(CLI::App& app);
void add_calibrate_command(CLI::App& app);
void add_export_command(CLI::App& app);
void add_convert_command(CLI::App& app);
void add_verify_command(CLI::App& app);
void add_list_command(CLI::App& app);
void add_completions_command(CLI::App& app);

// Parses, runs the chosen command and maps what it throws: 0 done, 1 Error, 2 usage, 70 Bug, 130 interrupted.
int run_application(CLI::App& app, int argc, char** argv);

}  // namespace edgeq
