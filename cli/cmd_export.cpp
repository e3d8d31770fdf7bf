// SPDX-License-Identifier: Apache-2.0
// `edgeq export` and `edgeq convert`: codes that exist, in another file.
#include <fmt/format.h>
#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/device_bundle.h"
#include "cli/ship_check.h"
#include "core/error.h"
#include "core/text.h"
#include "core/timer.h"
#include "eval/memory.h"
#include "models/any_model.h"
#include "recipe/ship.h"

namespace edgeq {
namespace {

struct ExportArgs {
  std::string input, target, output;
  int threads = 0;
  bool round = false, exact = false, overwrite = false, json = false, no_run = false, sites = false;
};

// The arrays of a weight are mapped, and given back one by one. Left to itself, glibc takes the first that is
// freed as a sign to keep such blocks on its heap, where what stays between them holds hundreds of megabytes:
// 880 MB instead of 310 for the GPTQ folder of a 7B model, by chance in one run and not in the next.
void give_back_large_blocks() {
#ifdef __GLIBC__
  constexpr int kSmallestBytes = 256 << 10;
  mallopt(M_MMAP_THRESHOLD, kSmallestBytes);
#endif
}

std::string verdict_text(const Verdict& v) {
  if (v.largest_error == 0) return "exact";
  return fmt::format("{}, largest error {:.3g}", v.anew ? "codes chosen anew" : "rounded", v.largest_error);
}

// `not_run`: why; "" when it was.
void print_json(const ExportArgs& args, const Shipped& shipped, double seconds, const std::string& not_run) {
  nlohmann::ordered_json j{{"output", args.output}, {"target", args.target}, {"bytes", shipped.bytes},
                           {"seconds", seconds},    {"verified", true},      {"ran", not_run.empty()}};
  if (!not_run.empty()) j["not_run"] = not_run;
  j["peak_rss_bytes"] = peak_rss_bytes();
  j["notes"] = shipped.notes;
  for (const Verdict& v : shipped.verdicts) {
    nlohmann::ordered_json site{{"name", v.site},
                                {"from", v.from},
                                {"to", v.to},
                                {"exact", v.largest_error == 0},
                                {"codes_chosen_anew", v.anew},
                                {"largest_error", v.largest_error}};
    if (!v.note.empty()) site["note"] = v.note;
    j["sites"].push_back(std::move(site));
  }
  fmt::print("{}\n", j.dump(2));
}

void print_verdicts(const ExportArgs& args, const Shipped& shipped) {
  struct Total {
    int sites = 0;
    double largest = 0;
  };
  std::map<std::string, Total> totals;
  for (const Verdict& v : shipped.verdicts) {
    if (args.sites) fmt::print("{:<30} {} -> {}: {}\n", v.site, v.from, v.to, verdict_text(v));
    const std::string kind = v.largest_error == 0 ? "exact" : v.anew ? "codes chosen anew" : "rounded";
    Total& total = totals[fmt::format("{} -> {}: {}", v.from, v.to, kind)];
    total.sites += 1;
    total.largest = std::max(total.largest, v.largest_error);
  }
  for (const auto& [text, total] : totals)
    fmt::print("  {:>4} sites  {}{}\n", total.sites, text,
               total.largest == 0 ? "" : fmt::format(", largest error {:.3g}", total.largest));
}

void export_model(const ExportArgs& args) {
  const Timer timer;
  give_back_large_blocks();
  const auto target = parse_target(args.target);
  const auto source = open_any_coded(args.input);
  const std::string not_run =
      args.no_run ? "--no-run" : run_check_obstacle(source->config()).value_or(std::string());
  Shipped shipped =
      ship({.source = *source,
            .target = *target,
            .output = args.output,
            .existing = args.overwrite ? OutputFile::Existing::replace : OutputFile::Existing::refuse,
            .choose_anew = args.round,
            .exact = args.exact,
            .run = not_run.empty() ? run_check(args.threads) : RunCheck()});
  for (std::string& note : left_out(args.input)) shipped.notes.push_back(std::move(note));
  const double seconds = timer.seconds();
  if (args.json) return print_json(args, shipped, seconds, not_run);
  fmt::print("{}: {} in {}, every weight read back equal{}\n", args.output, bytes_text(shipped.bytes),
             duration_text(seconds),
             not_run.empty() ? ", run and the same function" : fmt::format("; not run: {}", not_run));
  print_verdicts(args, shipped);
  for (const std::string& note : shipped.notes) fmt::print("note: {}\n", note);
}

void add_options(CLI::App& command, const std::shared_ptr<ExportArgs>& args) {
  command.add_flag("--round", args->round, "choose codes anew where the target cannot keep them");
  command.add_flag("--exact", args->exact, "refuse when any weight would change");
  command.add_flag("--sites", args->sites, "print the verdict on every site");
  command.add_flag("--no-run", args->no_run, "do not run what was written");
  command.add_option("--threads", args->threads, "threads, 0: all cores")->check(CLI::Range(0, 256));
  command.add_flag("--overwrite", args->overwrite, "replace an existing output");
  command.add_flag("--json", args->json, "print one JSON object, with a verdict on every site");
}

}  // namespace

void add_export_command(CLI::App& app) {
  const auto args = std::make_shared<ExportArgs>();
  const auto device = std::make_shared<DeviceExport>();
  CLI::App* command = app.add_subcommand("export", "Writes a packed model for another tool, or for a device");
  command->add_option("model", args->input, "packed file")->required();
  command->add_option("-o,--output", args->output, "file or folder to write")->required();
  CLI::Option* to = command->add_option("--to", args->target, "target (edgeq list targets)");
  CLI::Option* bundle =
      command->add_option("--device", device->device, "device file, such as configs/devices/rpi5.yaml");
  to->excludes(bundle);
  add_options(*command, args);
  command
      ->add_option("--context", device->context,
                   "for a device: tokens that the cache must hold, 0: the model's, at most 2048")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 30))
      ->capture_default_str();
  command->add_option("--text", device->text,
                      "for a device: text whose perplexity the manifest promises; default: that of the\n"
                      "report beside the model");
  command->add_option("--edgeq-run", device->edgeq_run,
                      "for a device: its program, instead of the one beside this build");
  command->footer(
      "Examples:\n"
      "  edgeq export llama.packed --to gguf -o llama.gguf\n"
      "  edgeq export llama.packed --to gptq -o llama-gptq\n"
      "  edgeq export llama.packed --to hdf5 -o llama.h5\n"
      "  edgeq export llama.packed --device configs/devices/rpi5.yaml -o bundle");
  command->callback([args, device] {
    if (!args->target.empty()) return export_model(*args);
    if (device->device.empty()) throw Error("neither --to nor --device is given; expected one of them");
    device->model = args->input;
    device->output = args->output;
    if (args->overwrite) device->existing = OutputFile::Existing::replace;
    export_for_device(*device);
  });
}

void add_convert_command(CLI::App& app) {
  const auto args = std::make_shared<ExportArgs>();
  CLI::App* command =
      app.add_subcommand("convert", "Carries the codes of any model file into another format");
  command->add_option("model", args->input, "packed file, Hugging Face folder, .gguf or HDF5 archive")
      ->required();
  command->add_option("--to", args->target, "target (edgeq list targets)")->required();
  command->add_option("-o,--output", args->output, "file or folder to write")->required();
  add_options(*command, args);
  command->footer(
      "Examples:\n"
      "  edgeq convert llama-gptq --to gguf -o llama.gguf\n"
      "  edgeq convert llama-awq --to gguf:q4_1 -o llama.gguf --sites\n"
      "  edgeq convert llama.gguf --to packed -o llama.packed");
  command->callback([args] { export_model(*args); });
}

}  // namespace edgeq
