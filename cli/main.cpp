// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "core/version.h"

int main(int argc, char** argv) {
  CLI::App app("Makes language models small and fast on edge devices, and proves what that cost.", "edgeq");
  app.set_version_flag("--version", std::string(edgeq::version()));
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  edgeq quantize int4 --model models/llama --calibration text.txt -o llama.packed\n"
      "  edgeq eval llama.packed --text test.txt --against models/llama\n"
      "  edgeq run llama.packed --prompt \"Once upon a time\" --tokens 64\n"
      "  edgeq bench llama.packed --prompt-tokens 512 --tokens 128\n"
      "`edgeq COMMAND --help` tells about one command.");
  edgeq::add_quantize_command(app);
  edgeq::add_calibrate_command(app);
  edgeq::add_eval_command(app);
  edgeq::add_run_command(app);
  edgeq::add_bench_command(app);
  edgeq::add_inspect_command(app);
  edgeq::add_list_command(app);
  edgeq::add_completions_command(app);
  return edgeq::run_application(app, argc, argv);
}
