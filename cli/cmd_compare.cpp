// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "cli/child.h"
#include "cli/commands.h"
#include "cli/engines.h"
#include "cli/progress_bar.h"
#include "cli/proof.h"
#include "cli/scoring_options.h"
#include "core/error.h"
#include "formats/output_file.h"
#include "recipe/prove.h"

namespace edgeq {
namespace {

struct CompareArgs {
  std::vector<std::string> models, tasks;
  std::string against, text, html;
  int64_t context = 512, windows = 0;
  TaskOptions task_options;
  int threads = 0;
  bool speed = false, json = false, quiet = false;
};

// File names, or whole paths where two are called alike.
std::vector<std::string> names_of(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths)
    names.push_back(std::filesystem::path(path).lexically_normal().filename().string());
  for (const std::string& name : names)
    if (name.empty() || std::ranges::count(names, name) > 1) return paths;
  return names;
}

std::vector<Task> tasks_of(const CompareArgs& args, const OpenModel& open) {
  return read_tasks(args.tasks, open.tokenizer, open.model->config().context, args.task_options);
}

Report compare(const CompareArgs& args, ProgressBar& bar) {
  std::vector<std::string> paths = args.models;
  if (!args.against.empty()) paths.insert(paths.begin(), args.against);
  if (paths.size() < 2) throw Error("one model alone; expected another, or --against REFERENCE");
  const std::vector<std::string> names = names_of(paths);
  const auto subject = [&](size_t i, const OpenModel& open) {
    return ProofSubject{.name = names[i], .file = paths[i], .model = *open.model, .facts = facts_of(open)};
  };
  MeasureLatency measure;
  if (args.speed)
    measure = [&](const std::string& file) { return measure_in_child(file, {.threads = args.threads}); };

  const OpenModel reference = open_model(paths[0], Engine::automatic, {.threads = args.threads});
  const Corpus corpus = read_corpus(args.text, reference.tokenizer);
  const Windows windows = cut_windows(corpus, args.context, args.windows), none;
  Report report = blank_report(corpus, reference, args.context);
  report.title = "Comparison";
  report.model = names[0];
  report.reference = names[0];
  for (size_t i = 1; i < paths.size(); ++i) {
    const OpenModel open = open_model(paths[i], Engine::automatic, {.threads = args.threads});
    check_same_tokens(open, reference, args.text, corpus);
    const std::vector<Task> tasks = tasks_of(args, open);
    report.rows.push_back(prove(subject(i, open), *reference.model,
                                {.windows = windows, .tasks = tasks, .calibration = none}, measure,
                                bar.callback()));
  }
  report.rows.insert(report.rows.begin(), reference_row(subject(0, reference), report.rows.front().quality,
                                                        tasks_of(args, reference), measure, bar.callback()));
  report.threads = report.rows.back().latency ? report.rows.back().latency->threads : 0;
  bar.finish_line();
  return report;
}

void run_compare(const CompareArgs& args) {
  ProgressBar bar(args.quiet || args.json);
  const Report report = compare(args, bar);
  if (!args.html.empty()) write_file(args.html, report_html(report), OutputFile::Existing::replace);
  if (args.json) {
    fmt::print("{}\n", report_json(report));
    return;
  }
  fmt::print("{}\n", report_table(report));
  for (const std::string& line : protocol_lines(report)) fmt::print("{}\n", line);
}

}  // namespace

void add_compare_command(CLI::App& app) {
  const auto args = std::make_shared<CompareArgs>();
  CLI::App* command = app.add_subcommand("compare", "Models side by side: size, loss, accuracy, speed");
  command->add_option("models", args->models, "packed files, Hugging Face folders or .gguf")->required();
  command->add_option("--text", args->text, "text to score (.txt or .jsonl)")->required();
  command->add_option("--against", args->against,
                      "what divergence is measured from, shown first; default: the first model");
  command->add_option("--tasks", args->tasks, "multiple-choice tasks, as for edgeq eval");
  add_task_options(*command, args->task_options);
  add_window_options(*command, args->context, args->windows);
  command->add_flag("--speed", args->speed,
                    "measure prefill, decode and memory, each model in its own process");
  command->add_option("--threads", args->threads, "threads, 0: all cores")->check(CLI::Range(0, 256));
  command->add_option("--html", args->html, "write a page with pictures, too");
  command->add_flag("--json", args->json, "print one JSON object");
  command->add_flag("--quiet", args->quiet, "no progress");
  command->footer(
      "Examples:\n"
      "  edgeq compare int4.packed int8.packed --against models/llama --text test.txt --html compare.html\n"
      "  edgeq compare ours.gguf theirs.gguf --against models/llama --text test.txt --tasks arc_easy.jsonl");
  command->callback([args] { run_compare(*args); });
}

}  // namespace edgeq
