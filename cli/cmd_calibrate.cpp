// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "cli/engines.h"
#include "cli/progress_bar.h"
#include "core/parallel.h"
#include "formats/staged_output.h"
#include "recipe/calibrate.h"
#include "recipe/compress.h"

namespace edgeq {
namespace {

struct CalibrateArgs {
  std::string model, text, output;
  CalibrationSpec spec;
  int threads = 0;
  bool quiet = false, overwrite = false;
};

void calibrate(CalibrateArgs& args) {
  if (!args.overwrite) refuse_existing(args.output);
  if (args.threads != 0) set_thread_count(args.threads);
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(args.model);
  args.spec.corpus = {args.text};
  const Calibration calibration = read_calibration(args.spec, checkpoint->tokenizer());
  const auto model = open_blockwise(checkpoint);
  ProgressBar bar(args.quiet);
  const StatsMap stats =
      float_statistics(*model, calibration.windows, kNeedMoments | kNeedHessian, bar.callback());
  bar.finish_line();
  write_stats(args.output, stats_key(*checkpoint, calibration), stats);
  const int64_t tokens = stats.begin()->second.tokens;
  fmt::print("{}: {} inputs, each from {} tokens of {} ({} windows of {})\n", args.output, stats.size(),
             tokens, calibration.name(), calibration.windows.count(), calibration.windows.length);
}

}  // namespace

void add_calibrate_command(CLI::App& app) {
  const auto args = std::make_shared<CalibrateArgs>();
  CLI::App* command = app.add_subcommand(
      "calibrate", "Collects the statistics of a float model's layer inputs in an HDF5 file");
  command->add_option("model", args->model, "Hugging Face folder or .gguf")->required();
  command->add_option("--text", args->text, "calibration text (.txt or .jsonl)")->required();
  command->add_option("-o,--output", args->output, "HDF5 file to write")->required();
  command->add_option("--windows", args->spec.windows, "windows from the start of the text")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 30))
      ->capture_default_str();
  command->add_option("--tokens", args->spec.tokens, "tokens of a window")
      ->check(CLI::Range(int64_t(2), int64_t(1) << 20))
      ->capture_default_str();
  command->add_option("--threads", args->threads, "threads, 0: all cores")->check(CLI::Range(0, 256));
  command->add_flag("--overwrite", args->overwrite, "replace an existing output");
  command->add_flag("--quiet", args->quiet, "no progress");
  command->footer(
      "The statistics are those of the float model; `edgeq quantize` without --statistics collects them on "
      "the\n"
      "already quantized part of the model instead, which is slower and better.\n"
      "Example: edgeq calibrate models/llama --text text.txt -o llama-stats.h5");
  command->callback([args] { calibrate(*args); });
}

}  // namespace edgeq
