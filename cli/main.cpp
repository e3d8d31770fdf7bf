// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>

#include "cli/commands.h"
#include "core/version.h"

namespace {

// Threads of libgomp that wait for work spin, which on a machine with other load takes the cores from those
// that have some: ten times slower and worse. libgomp reads its policy when it is loaded, before main, so
// that the only way to change its default is to set it and to begin again.
void begin_again_with_passive_waiting(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  std::error_code unknown;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", unknown);
  if (unknown || setenv("OMP_WAIT_POLICY", "passive", 0) != 0) return;
  execv(self.c_str(), argv);  // returns only when it fails: then spinning it is
}

}  // namespace

int main(int argc, char** argv) {
  begin_again_with_passive_waiting(argv);
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
  edgeq::add_prune_command(app);
  edgeq::add_traces_command(app);
  edgeq::add_distill_command(app);
  edgeq::add_calibrate_command(app);
  edgeq::add_eval_command(app);
  edgeq::add_compare_command(app);
  edgeq::add_run_command(app);
  edgeq::add_bench_command(app);
  edgeq::add_inspect_command(app);
  edgeq::add_export_command(app);
  edgeq::add_convert_command(app);
  edgeq::add_verify_command(app);
  edgeq::add_list_command(app);
  edgeq::add_completions_command(app);
  return edgeq::run_application(app, argc, argv);
}
