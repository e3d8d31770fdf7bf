// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/kv_option.h"
#include "cli/open_model.h"
#include "cli/progress_bar.h"
#include "cli/prompt_cache.h"
#include "cli/reach_option.h"
#include "cli/write_traces.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "core/timer.h"
#include "core/version.h"
#include "eval/statistics.h"
#include "formats/output_file.h"

namespace edgeq {
namespace {

struct TracesArgs {
  std::string model, prompts, output, keep = "correct", kv;
  int64_t limit = 0;
  TraceOptions options;
  RuntimeOptions runtime;
  ReachArgs reach;
  bool overwrite = false, json = false, quiet = false;
};

// All that decides what is written.
TraceJournal::Key journal_key(const OpenModel& open, std::span<const Trace> prompts, const TraceOptions& o) {
  const PromptCacheKey model = prompt_cache_key(open, 0);
  Hasher questions, stops;
  for (const Trace& trace : prompts)
    questions.add(trace_line({.prompt = trace.prompt, .trace = {}, .answer = {}}));
  for (const std::string& stop : o.stops) stops.add(stop + '\0');
  return {{"format", "edgeq-traces 1"},
          {"tool_version", std::string(version())},
          {"model", model.model},
          {"tokenizer", model.tokenizer},
          {"kv", model.kv},
          {"reach", model.reach},
          {"kernels", active_isa()},
          {"prompts", questions.digest()},
          {"samples", fmt::to_string(o.samples)},
          {"tokens", fmt::to_string(o.tokens)},
          {"temperature", fmt::to_string(o.sampler.temperature)},
          {"top_p", fmt::to_string(o.sampler.top_p)},
          {"seed", fmt::to_string(o.sampler.seed)},
          {"chat", o.form.chat ? "yes" : "no"},
          {"system", o.form.system},
          {"stop", o.stops.empty() ? "none" : stops.digest()}};
}

void print_json(const TracesArgs& args, const TraceFile& file, const TraceCounts& c, double seconds) {
  nlohmann::ordered_json json{{"model", args.model},      {"prompts", file.traces.size()},
                              {"broken", file.broken},    {"samples", args.options.samples},
                              {"written", c.written},     {"kept", c.kept},
                              {"right", c.right},         {"wrong", c.wrong},
                              {"no_answer", c.no_answer}, {"unchecked", c.unchecked},
                              {"too_long", c.too_long},   {"duplicates", c.duplicates},
                              {"seconds", seconds}};
  if (!c.shares.empty()) {
    json["exact_match"] = mean(c.shares);
    json["exact_match_stderr"] = standard_error(c.shares);
  }
  fmt::print("{}\n", json.dump(2));
}

void print_counts(const TracesArgs& args, const TraceFile& file, const TraceCounts& c, double seconds) {
  if (file.broken > 0)
    fmt::print("{}: {} broken lines left out ({})\n", file.name, file.broken, file.first_broken);
  fmt::print(
      "{} traces of {} prompts in {}: {} kept, {} wrong, {} without an answer, {} too long, {} duplicates\n",
      c.written, file.traces.size(), duration_text(seconds), c.kept, c.wrong, c.no_answer, c.too_long,
      c.duplicates);
  if (c.shares.empty()) return;
  fmt::print("exact match {} of {} ({:.1f} % \u00b1 {:.1f})\n", c.right,
             std::ssize(c.shares) * args.options.samples, 100 * mean(c.shares),
             100 * standard_error(c.shares));
}

void traces_command(TracesArgs& args) {
  const Sampler checked_options(args.options.sampler);  // before anything is read
  args.runtime.kv = parse_kv_option(args.kv);
  args.runtime.reach = args.reach.reach();
  TraceFile file = read_traces(args.prompts, TraceFields::prompt, args.options.form.broken_limit);
  if (args.limit > 0 && args.limit < std::ssize(file.traces)) file.traces.resize(size_t(args.limit));
  std::optional<OutputFile> output;  // refuses what is there, and a second run at the same time
  if (!args.output.empty()) {
    make_folder_of(args.output);
    output.emplace(args.output,
                   args.overwrite ? OutputFile::Existing::replace : OutputFile::Existing::refuse);
  }
  const OpenModel open = open_runtime_model(args.model, args.runtime);
  TraceJournal journal(args.output.empty() ? "" : args.output + ".work",
                       journal_key(open, file.traces, args.options));
  ProgressBar bar(args.quiet || args.json);
  const Timer timer;
  write_traces(open, file.traces, args.options, journal, bar.callback());
  bar.finish_line();
  const CheckedTraces checked = check_traces(file.traces, journal, args.options.samples, args.keep == "all");
  (args.json ? print_json : print_counts)(args, file, checked.counts, timer.seconds());
  if (!output) return;
  if (checked.counts.kept == 0)
    throw Error(fmt::format("{}: no trace to keep of {} written", args.output, checked.counts.written))
        .set_hint("what was written is in " + args.output + ".work; with --keep all it is kept");
  output->write(checked.lines);
  output->commit();
  journal.remove();
  if (!args.json) fmt::print("{}: {} traces\n", args.output, checked.counts.kept);
}

}  // namespace

void add_traces_command(CLI::App& app) {
  const auto args = std::make_shared<TracesArgs>();
  TraceOptions& options = args->options;
  CLI::App* command = app.add_subcommand(
      "traces",
      "A teacher answers prompts: traces for a student, kept where the answer is right; or exact match");
  command->add_option("model", args->model, "packed file, Hugging Face folder or .gguf")->required();
  command
      ->add_option("--prompts", args->prompts,
                   "JSON lines with prompt (or question) and, to be checked, answer")
      ->required();
  command->add_option("-o,--output", args->output,
                      "JSON lines to write; without it, only exact match is measured");
  command->add_option("--samples", options.samples, "traces of each prompt")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 20))
      ->capture_default_str();
  command->add_option("--temperature", options.sampler.temperature, "0 is greedy")->capture_default_str();
  command->add_option("--top-p", options.sampler.top_p, "keep the likeliest tokens of this total probability")
      ->capture_default_str();
  command->add_option("-n,--tokens", options.tokens, "tokens of a trace at most")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 20))
      ->capture_default_str();
  command->add_option("--seed", options.sampler.seed, "seed of the sampler")->capture_default_str();
  command->add_option("--parallel", options.parallel, "traces written together; does not change them")
      ->check(CLI::Range(int64_t(1), int64_t(1024)))
      ->capture_default_str();
  command->add_option("--stop", options.stops, "text that ends a trace, besides the model's end tokens")
      ->allow_extra_args(false);
  command
      ->add_option("--keep", args->keep,
                   "correct: whose answer is right or cannot be checked; all: wrong ones too")
      ->check(CLI::IsMember({"correct", "all"}))
      ->capture_default_str();
  command->add_option("--limit", args->limit, "prompts, from the start, 0: all")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 40))
      ->capture_default_str();
  CLI::Option* chat =
      command->add_flag("--chat", options.form.chat, "prompts are rendered by the model's chat template");
  command->add_option("--system", options.form.system, "system message, with --chat")->needs(chat);
  command->add_option("--threads", args->runtime.threads, "threads, 0: all cores")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_option("--kv", args->kv, kKvHelp);
  add_reach_options(*command, args->reach);
  command->add_flag("--overwrite", args->overwrite, "replace an existing output");
  command->add_flag("--json", args->json, "print the counts as JSON");
  command->add_flag("--quiet", args->quiet, "no progress");
  command->footer(
      "Examples:\n"
      "  edgeq traces teacher.packed --prompts train.jsonl --samples 4 -o traces.jsonl\n"
      "  edgeq traces student.packed --prompts test.jsonl --temperature 0      # exact match only");
  command->callback([args] { traces_command(*args); });
}

}  // namespace edgeq
