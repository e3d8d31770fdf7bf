// SPDX-License-Identifier: Apache-2.0
// edgeq-run: what a device needs. Runs, measures and evaluates packed files without LibTorch, HDF5, YAML or
// OpenMP.
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "core/version.h"

int main(int argc, char** argv) {
  CLI::App app("Runs and measures packed models.", "edgeq-run");
  app.set_version_flag("--version", std::string(edgeq::version()));
  app.require_subcommand(1);
  edgeq::add_run_command(app);
  edgeq::add_bench_command(app);
  edgeq::add_eval_command(app);
  edgeq::add_inspect_command(app);
  return edgeq::run_application(app, argc, argv);
}
