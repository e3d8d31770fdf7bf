// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/engines.h"
#include "cli/kv_option.h"
#include "cli/kv_sweep.h"
#include "cli/progress_bar.h"
#include "cli/reach_option.h"
#include "cli/scoring_options.h"
#include "core/error.h"
#include "core/text.h"
#include "eval/json.h"
#include "eval/memory.h"
#include "eval/perplexity.h"
#include "eval/tasks.h"
#include "models/corpus.h"

namespace edgeq {
namespace {

struct EvalArgs {
  std::string model, text, against, engine = "auto", against_engine, activations;
  std::vector<std::string> tasks;
  TaskOptions task_options;
  int64_t context = 512, windows = 0;
  RuntimeOptions runtime;
  ReachArgs reach;
  std::vector<std::string> kv;
  bool json = false, quiet = false;
};

void print_quality(const EvalArgs& args, const Corpus& corpus, const TextQuality& q) {
  fmt::print("text            {}, {} windows of {} tokens, no BOS, second half scored ({} predictions)\n",
             corpus.name, q.windows, q.window_tokens, q.predictions);
  fmt::print("perplexity      {:.4f} +- {:.4f}; over all predictions {:.4f}\n", q.perplexity,
             q.perplexity_standard_error, q.perplexity_all);
  if (!q.divergence) return;
  const Divergence& d = *q.divergence;
  fmt::print("reference       {:.4f} ({}); ratio {:.4f}\n", q.reference_perplexity, args.against,
             q.perplexity / q.reference_perplexity);
  fmt::print("KL divergence   mean {:.5f} +- {:.5f}, median {:.5f}, p99 {:.4f}, max {:.3f}\n", d.kl_mean,
             d.kl_standard_error, d.kl_median, d.kl_p99, d.kl_max);
  fmt::print("top-1 agreement {:.2f} %\n", 100 * d.top1_agreement);
}

void print_task(const TaskScore& score, const TaskScore* reference) {
  fmt::print("{}: accuracy {:.2f} +- {:.2f} %, length-normalised {:.2f} +- {:.2f} % of {} items\n",
             score.name, 100 * score.accuracy, 100 * score.standard_error, 100 * score.accuracy_norm,
             100 * score.standard_error_norm, score.right.size());
  if (reference == nullptr) return;
  const TaskDifference d = task_difference(score, *reference);
  fmt::print(
      "  less the reference's {:.2f} %: {:+.2f} +- {:.2f}; length-normalised {:.2f} %: {:+.2f} +- {:.2f}\n",
      100 * reference->accuracy, 100 * d.accuracy, 100 * d.standard_error, 100 * reference->accuracy_norm,
      100 * d.accuracy_norm, 100 * d.standard_error_norm);
}

// In this model's own tokens, which need not be the reference's.
std::vector<Task> read_model_tasks(const OpenModel& open, const EvalArgs& args) {
  return read_tasks(args.tasks, open.tokenizer, open.model->config().context, args.task_options);
}

void evaluate(EvalArgs& args) {
  const Engine engine = parse_engine(args.engine);
  if (!args.activations.empty()) args.runtime.activations = parse_activations(args.activations);
  if (args.kv.size() > 1 || args.kv == std::vector<std::string>{"sweep"}) {
    if (!args.against.empty() || !args.tasks.empty())
      throw Error("several --kv are compared with f32 on a text: they go with neither --against nor --tasks");
    return sweep_kv({.model = args.model,
                     .text = args.text,
                     .kv = args.kv.size() > 1 ? args.kv : kKvSweep,
                     .context = args.context,
                     .windows = args.windows,
                     .threads = args.runtime.threads,
                     .reach = args.reach.reach(),
                     .json = args.json,
                     .quiet = args.quiet});
  }
  RuntimeOptions options = args.runtime;
  if (!args.kv.empty()) options.kv = parse_kv_scheme(args.kv.front());
  options.reach = args.reach.reach();  // the reference sees everything
  const OpenModel open = open_model(args.model, engine, options);
  std::optional<OpenModel> reference;
  if (!args.against.empty()) {
    reference = open_model(
        args.against, args.against_engine.empty() ? engine : parse_engine(args.against_engine), args.runtime);
  }
  Evaluation evaluation;
  std::optional<Corpus> corpus;
  Windows windows;
  if (!args.text.empty()) {
    corpus = read_corpus(args.text, open.tokenizer);
    evaluation.calibrated_on_text = std::ranges::count(open.calibration_hashes, corpus->hash) != 0;
    if (reference) check_same_tokens(*reference, open, args.text, *corpus);
    windows = cut_windows(*corpus, args.context, args.windows);
  }
  const std::vector<Task> tasks = read_model_tasks(open, args);
  const std::vector<Task> reference_tasks =
      reference ? read_model_tasks(*reference, args) : std::vector<Task>();

  ProgressBar bar(args.quiet || args.json);
  const LanguageModel* against = reference ? reference->model.get() : nullptr;
  if (corpus) evaluation.text = measure_text_quality(*open.model, against, windows, bar.callback());
  for (const Task& task : tasks) evaluation.tasks.push_back(score_task(*open.model, task, bar.callback()));
  for (const Task& task : reference_tasks)
    evaluation.reference_tasks.push_back(score_task(*against, task, bar.callback()));
  bar.finish_line();
  if (args.json) {
    ModelFacts facts = facts_of(open);
    facts.isa = active_isa();
    facts.peak_rss_bytes = peak_rss_bytes();
    fmt::print("{}\n", evaluation_json(evaluation, facts));
    return;
  }
  fmt::print("{}: {}, {:.3f} bits per weight{}\n", args.model, bytes_text(open.file_bytes),
             open.bits_per_weight,
             open.reach.limited() ? fmt::format(", {} tokens seen", reach_text(open.reach)) : "");
  if (corpus) print_quality(args, *corpus, *evaluation.text);
  if (evaluation.calibrated_on_text)
    fmt::print("warning: {} was calibrated on this very text; the figures flatter\n", args.model);
  for (size_t i = 0; i < tasks.size(); ++i)
    print_task(evaluation.tasks[i], against != nullptr ? &evaluation.reference_tasks[i] : nullptr);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  const auto args = std::make_shared<EvalArgs>();
  CLI::App* command = app.add_subcommand(
      "eval", "Perplexity and task accuracy of a model, and its divergence from a reference");
  command->add_option("model", args->model, "packed file, Hugging Face folder or .gguf")->required();
  command->add_option("--text", args->text, "text to score (.txt, or .jsonl)");
  command->add_option(
      "--tasks", args->tasks,
      "multiple-choice tasks to score, JSON lines {\"query\", \"choices\", \"gold\"} or\n"
      "{\"context_options\", \"continuation\", \"gold\"}; --json has accuracy, accuracy_norm, stderr");
  command->add_option("--against", args->against,
                      "reference model: KL divergence, top-1 agreement, difference");
  add_window_options(*command, args->context, args->windows);
  add_task_options(*command, args->task_options);
  command->add_option("--engine", args->engine, "engine of float models: auto, runtime or torch")
      ->check(CLI::IsMember({"auto", "runtime", "torch"}))
      ->capture_default_str();
  command
      ->add_option("--against-engine", args->against_engine,
                   "engine of the reference, default as --engine; torch on the same packed file holds the\n"
                   "runtime against LibTorch on the same codes")
      ->check(CLI::IsMember({"auto", "runtime", "torch"}));
  command
      ->add_option("--activations", args->activations,
                   "of packed models: f32, int8_block, int8_token or int8_static; default: as the file says")
      ->check(CLI::IsMember({"f32", "int8_block", "int8_token", "int8_static"}));
  command
      ->add_option("--kv", args->kv,
                   std::string(kKvHelp) + ".\nSeveral, or \"sweep\": what each adds to f32, in one table")
      ->delimiter(',')
      ->allow_extra_args(false);
  add_reach_options(*command, args->reach);
  command->add_option("--threads", args->runtime.threads, "threads, 0: all cores")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_flag("--json", args->json, "print one JSON object");
  command->add_flag("--quiet", args->quiet, "no progress");
  command->footer(
      "Examples:\n"
      "  edgeq eval llama.packed --text test.txt --against models/llama --windows 24\n"
      "  edgeq eval llama.packed --tasks arc_easy.jsonl winogrande.jsonl --limit 500 --against models/llama\n"
      "  edgeq eval llama.packed --text test.txt --kv sweep\n"
      "  edgeq eval llama.packed --text test.txt --against llama.packed --window 128   # what forgetting "
      "costs\n"
      "An item of a task is right when the model gives its gold choice the highest log-probability: summed\n"
      "(accuracy), or per character (accuracy_norm), as lm-evaluation-harness's acc and acc_norm.");
  command->callback([args] {
    if (args->text.empty() && args->tasks.empty()) throw CLI::RequiredError("--text or --tasks");
    evaluate(*args);
  });
}

}  // namespace edgeq
