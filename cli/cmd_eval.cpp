// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/engines.h"
#include "cli/progress_bar.h"
#include "core/error.h"
#include "core/text.h"
#include "eval/json.h"
#include "eval/memory.h"
#include "eval/perplexity.h"
#include "models/corpus.h"

namespace edgeq {
namespace {

struct EvalArgs {
  std::string model, text, against, engine = "auto", against_engine, activations = "int8_block";
  int64_t context = 512, windows = 0;
  RuntimeOptions runtime;
  bool json = false, quiet = false;
};

Activations parse_activations(const std::string& name) {
  if (name == "int8_block") return Activations::int8_block;
  if (name == "int8_token") return Activations::int8_token;
  return Activations::f32;
}

void print_quality(const EvalArgs& args, const OpenModel& open, const Corpus& corpus, const TextQuality& q) {
  fmt::print("{}: {}, {:.3f} bits per weight\n", args.model, bytes_text(open.file_bytes),
             open.bits_per_weight);
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

// Of this text: tokenizers may differ in what it does not contain, or in a step that their merges make idle.
void check_same_tokens(const EvalArgs& args, const Corpus& corpus, const Tokenizer& ours,
                       const Tokenizer& reference) {
  if (reference.hash() == ours.hash() || read_corpus(args.text, reference).tokens == corpus.tokens) return;
  throw Error(fmt::format("{} and {} turn {} into different tokens; expected the same", args.model,
                          args.against, args.text));
}

void evaluate(EvalArgs& args) {
  const Engine engine = parse_engine(args.engine);
  args.runtime.activations = parse_activations(args.activations);
  const OpenModel open = open_model(args.model, engine, args.runtime);
  std::optional<OpenModel> reference;
  if (!args.against.empty()) {
    reference = open_model(
        args.against, args.against_engine.empty() ? engine : parse_engine(args.against_engine), args.runtime);
  }
  const Corpus corpus = read_corpus(args.text, open.tokenizer);
  if (reference) check_same_tokens(args, corpus, open.tokenizer, reference->tokenizer);
  const Windows windows = cut_windows(corpus, args.context, args.windows);
  ProgressBar bar(args.quiet || args.json);
  const TextQuality quality = measure_text_quality(*open.model, reference ? reference->model.get() : nullptr,
                                                   windows, bar.callback());
  bar.finish_line();
  if (!args.json) return print_quality(args, open, corpus, quality);
  ModelFacts facts = facts_of(open);
  facts.isa = active_isa();
  facts.peak_rss_bytes = peak_rss_bytes();
  fmt::print("{}\n", quality_json(quality, facts));
}

}  // namespace

void add_eval_command(CLI::App& app) {
  const auto args = std::make_shared<EvalArgs>();
  CLI::App* command =
      app.add_subcommand("eval", "Perplexity of a model, and its divergence from a reference");
  command->add_option("model", args->model, "packed file, Hugging Face folder or .gguf")->required();
  command->add_option("--text", args->text, "text to score (.txt, or .jsonl)")->required();
  command->add_option("--against", args->against, "reference model: KL divergence and top-1 agreement");
  command->add_option("--context", args->context, "tokens of a window")
      ->check(CLI::Range(int64_t(4), int64_t(1) << 20))
      ->capture_default_str();
  command->add_option("--windows", args->windows, "windows from the start of the text, 0: all")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 30))
      ->capture_default_str();
  command->add_option("--engine", args->engine, "engine of float models: auto, runtime or torch")
      ->check(CLI::IsMember({"auto", "runtime", "torch"}))
      ->capture_default_str();
  command
      ->add_option("--against-engine", args->against_engine,
                   "engine of the reference, default as --engine; torch on the same packed file holds the\n"
                   "runtime against LibTorch on the same codes")
      ->check(CLI::IsMember({"auto", "runtime", "torch"}));
  command->add_option("--activations", args->activations, "of packed models: int8_block, int8_token or f32")
      ->check(CLI::IsMember({"int8_block", "int8_token", "f32"}))
      ->capture_default_str();
  command->add_option("--threads", args->runtime.threads, "threads, 0: all cores")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_flag("--json", args->json, "print one JSON object");
  command->add_flag("--quiet", args->quiet, "no progress");
  command->footer("Example: edgeq eval llama.packed --text test.txt --against models/llama --windows 24");
  command->callback([args] { evaluate(*args); });
}

}  // namespace edgeq
