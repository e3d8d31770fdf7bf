// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/heal_stage.h"
#include "cli/progress_bar.h"
#include "cli/prune_proof.h"
#include "cli/prune_stage.h"
#include "cli/ship_check.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text.h"
#include "core/timer.h"
#include "formats/output_folder.h"
#include "formats/staged_output.h"
#include "recipe/prune_model.h"
#include "recipe/prune_options.h"
#include "recipe/trimmed_model.h"

namespace edgeq {
namespace {

struct PruneArgs {
  std::string model, output, target;
  std::vector<std::string> calibration;
  PruneSpec spec;
  std::string vocab, budget, kinds, sparsity, pattern, mask;
  CalibrationSpec text{.windows = 32, .tokens = 512};
  ProofSpec prove;
  int64_t heal = 0;
  int threads = 0;
  bool vocab_unused = false, plain = false, dry_run = false, overwrite = false, json = false, quiet = false;
};

std::string count_text(std::string_view what, int64_t after, int64_t before) {
  return fmt::format("  {:<10} {} of {} stay (-{:.1f} %)\n", what, after, before,
                     100 * (1 - double(after) / double(before)));
}

// What stays of a model, by its first layer: all are alike, but for the heads of spread_heads().
std::string plan_text(const PruneSpec& spec, const ModelConfig& before, const ModelConfig& after) {
  const LayerShape &from = before.layers[0], &to = after.layers[0];
  std::string text =
      fmt::format("weights {} of {} (-{:.1f} %)\n", after.weight_count(), before.weight_count(),
                  100 * (1 - double(after.weight_count()) / double(before.weight_count())));
  if (before.vocab != after.vocab) text += count_text("tokens", after.vocab, before.vocab);
  if (spec.per_layer)
    text += fmt::format("  {:<10} {} of all go, by layer as the text says; not in the weights above\n",
                        "heads", spec.shares.heads);
  if (from.heads != to.heads) text += count_text("heads", to.heads, from.heads);
  if (from.kv_heads != to.kv_heads) text += count_text("KV heads", to.kv_heads, from.kv_heads);
  if (from.ffn != to.ffn) text += count_text("channels", to.ffn, from.ffn);
  if (before.layers.size() != after.layers.size())
    text += count_text("blocks", std::ssize(after.layers), std::ssize(before.layers));
  return text;
}

// What an option says, if it is given.
template <class Value>
std::optional<Value> said(const std::string& option, Value (*parse)(std::string_view)) {
  return option.empty() ? std::nullopt : std::optional(parse(option));
}

std::optional<VocabularyCut> vocabulary_cut(const PruneArgs& args) {
  if (args.vocab_unused && !args.vocab.empty())
    throw Error("both --vocab and --vocab-unused; expected one of the two");
  if (args.vocab_unused) return VocabularyCut{};
  return said(args.vocab, parse_vocabulary_cut);
}

// Short sequences and small batches: many steps of few tokens heal better than few steps of many. The rate
// falls with the width (muP, arXiv 2203.03466): from what did best on widths of 192 and 576.
TrainingSpec healing(int64_t tokens, const ModelConfig& config) {
  TrainingSpec spec;
  spec.data.length = std::min<int64_t>(256, config.context);
  spec.train = {.losses = {{.kind = LossKind::forward_kl}},
                .tokens = tokens,
                .batch = 4,
                .rate = 0.0576 / double(config.hidden)};
  return spec;
}

void prune_command(PruneArgs& args) {
  if (args.heal != 0) keep_freed_memory();
  if (args.threads != 0) set_thread_count(args.threads);
  args.output = without_slash(args.output);
  args.spec.compensate = !args.plain;
  args.spec.mask = mask_spec(said(args.sparsity, parse_share), said(args.pattern, parse_pattern), args.mask);
  if (args.heal != 0) check_healable(args.spec);
  const std::shared_ptr<const Checkpoint> whole = open_checkpoint(args.model);
  std::shared_ptr<const Checkpoint> checkpoint = whole;
  args.spec.vocab = vocabulary_cut(args);
  if (args.spec.vocab) {
    const Trimmed trimmed = trim_vocabulary(whole, *args.spec.vocab, args.calibration);
    checkpoint = trimmed.checkpoint;
    if (!args.json) fmt::print("{} of the {} tokens are in the text\n", trimmed.seen, whole->config().vocab);
  }
  const auto target = pruned_target(args.spec, *checkpoint, args.target);
  args.spec.budget = prune_budget(said<SizeLimit>(args.budget, parse_size_limit), args.kinds);
  args.spec = within_budget(args.spec, checkpoint->config(), target->name());
  const Cuts plan = plan_cuts(args.spec, checkpoint->config());
  require_config(args.spec, checkpoint->config());
  if (!args.json) fmt::print("{}", plan_text(args.spec, whole->config(), plan.config));
  if (!args.json && args.spec.mask)
    fmt::print("  {:<10} {} by {}\n", "zeros", sparsity_text(args.spec.mask->sparsity),
               args.spec.mask->method);
  if (args.dry_run) return;
  if (args.output.empty()) throw Error("no output; expected -o PATH");
  if (!args.overwrite) refuse_existing(args.output);
  std::optional<ProofMaterial> proof;
  if (!args.prove.corpus.empty()) proof = prepare_proof(args.prove, *checkpoint);
  const bool text = prune_needs_text(args.spec);
  std::optional<Calibration> calibration;
  if (text) {
    args.text.corpus = args.calibration;
    calibration = read_calibration(args.text, checkpoint->tokenizer());
    if (!args.json)
      fmt::print("calibration: {} windows of {} tokens of {}\n", calibration->windows.count(),
                 calibration->windows.length, calibration->name());
  }
  std::optional<HealStage> heal;
  if (args.heal != 0) {
    heal.emplace(healing(args.heal, checkpoint->config()), args.calibration, checkpoint,
                 args.output + ".heal.work");
    if (!args.json) fmt::print("healing: {}\n", data_text(heal->data()));
  }
  const auto not_run = run_check_obstacle(checkpoint->config());
  make_folder_of(args.output);
  ProgressBar bar(args.quiet || args.json);
  const Timer timer;
  PruneStage stage(args.spec, checkpoint, calibration ? &*calibration : nullptr, args.output + ".work",
                   bar.callback());
  Distilled healed;
  if (heal) healed = heal->run(stage.checkpoint(), bar);
  const Shipped shipped =
      ship({.source = heal ? static_cast<const CodedModel&>(*healed.model) : *stage.model(),
            .target = *target,
            .output = args.output,
            .existing = args.overwrite ? OutputFile::Existing::replace : OutputFile::Existing::refuse,
            .run = not_run ? RunCheck() : run_check(args.threads)});
  bar.finish_line();
  if (!args.json) {
    fmt::print("{}: {} as {}, {}\n", args.output, bytes_text(shipped.bytes), target->name(),
               duration_text(timer.seconds()));
    if (heal) fmt::print("healed: {}\n", train_summary(healed.report));
    if (not_run) fmt::print("note: read back equal, not run: {}\n", *not_run);
  }
  prove_pruned({.spec = args.spec,
                .checkpoint = checkpoint,
                .before = whole->config(),
                .calibration = calibration ? &*calibration : nullptr,
                .cut = stage.model(),
                .healing = heal ? std::optional(healed.report) : std::nullopt,
                .output = args.output,
                .target = target->name(),
                .seconds = stage.seconds(),
                .material = proof ? &*proof : nullptr,
                .json = args.json,
                .threads = args.threads},
               bar);
  stage.remove_journal();
  if (heal) heal->remove_folder();
}

}  // namespace

void add_prune_command(CLI::App& app) {
  const auto args = std::make_shared<PruneArgs>();
  CLI::App* command = app.add_subcommand(
      "prune", "Cuts heads, channels or blocks out of a model, or makes zeros: a Hugging Face folder");
  command->add_option("model", args->model, "Hugging Face folder or .gguf")->required();
  command->add_option("--heads", args->spec.shares.heads,
                      "share of the query heads to cut, the same in every layer (but see --per-layer)");
  command->add_flag(
      "--per-layer", args->spec.per_layer,
      "--heads is of all layers together; each keeps as many as its heads are worth. Written as GGUF");
  command->add_option("--ffn", args->spec.shares.ffn, "share of the feed-forward's channels to cut");
  command->add_option("--blocks", args->spec.shares.blocks, "share of the blocks to cut");
  command->add_flag("--groups", args->spec.shares.whole_groups,
                    "cut KV heads with all their query heads, where the number allows it");
  command->add_option(
      "--multiple", args->spec.shares.channel_multiple,
      "channels left are a multiple of this; 0: 64 or 32 where it divides what there is; K-quants "
      "need 256");
  command->add_option("--vocab", args->vocab,
                      "share of the tokens to cut, the least frequent in the whole of the calibration text");
  command->add_flag("--vocab-unused", args->vocab_unused,
                    "cut the tokens that are not in the calibration text");
  command->add_option("--budget", args->budget,
                      "parameters=100M, bytes=200MB or macs=90M (per token): cut as little as fits, of --of");
  command->add_option("--of", args->kinds,
                      "what a budget may cut: of heads, ffn, blocks (default heads,ffn)");
  command->add_option("--sparsity", args->sparsity, "share of zeros in each matrix of the layers that stay");
  command->add_option("--nm", args->pattern,
                      "n:m, such as 2:4: n weights stay of every m, in each matrix of the layers");
  command->add_option("--mask", args->mask,
                      "how --sparsity and --nm choose: sparsegpt (default), wanda or magnitude");
  command->add_option("--score", args->spec.score, "of heads and channels (edgeq list pruners)")
      ->capture_default_str();
  command->add_option("--block-score", args->spec.block_score, "of blocks")->capture_default_str();
  command
      ->add_option("--calibration", args->calibration,
                   "text to score and to compensate on: .txt or .jsonl, or `default`, which comes with edgeq")
      ->allow_extra_args(false);
  command->add_option("--windows", args->text.windows, "calibration windows of 512 tokens")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 30))
      ->capture_default_str();
  command->add_flag("--plain", args->plain, "cut only: what is left does not make up for what is gone");
  command
      ->add_option("--heal", args->heal,
                   "tokens of the calibration text to train what is left on afterwards, after the whole\n"
                   "model; a recipe says more (heal: in docs/recipes.md)")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40));
  command->add_option("--for", args->target,
                      "f32, f16, bf16 (a folder), gguf:f32, gguf:f16, gguf:bf16; default: as the model is");
  command->add_option("-o,--output", args->output, "folder (or GGUF file) to write");
  command->add_option("--prove", args->prove.corpus,
                      "text to prove on: perplexity and divergence, before and after");
  command->add_option("--prove-windows", args->prove.windows, "windows of 512 tokens, 0: all")
      ->capture_default_str();
  command->add_option("--tasks", args->prove.tasks, "multiple-choice tasks to prove on, as for edgeq eval");
  command->add_option("--limit", args->prove.task_items, "items of each task, from the start, 0: all")
      ->capture_default_str();
  command->add_option("--threads", args->threads, "threads, 0: all cores")->check(CLI::Range(0, 256));
  command->add_flag("--dry-run", args->dry_run, "print what would stay, and stop");
  command->add_flag("--overwrite", args->overwrite, "replace an existing output");
  command->add_flag("--json", args->json, "print the report as JSON");
  command->add_flag("--quiet", args->quiet, "no progress");
  command->footer(
      "Examples:\n"
      "  edgeq prune models/llama --heads 0.33 --calibration text.txt -o llama-pruned\n"
      "  edgeq prune models/llama --ffn 0.25 --calibration text.txt --prove test.txt -o llama-narrow\n"
      "  edgeq prune models/llama --heads 0.33 --calibration text.txt --heal 500000 -o llama-healed\n"
      "  edgeq prune models/llama --heads 0.4 --per-layer --calibration text.txt -o llama-pruned.gguf\n"
      "  edgeq prune models/llama --vocab-unused --calibration text.txt -o llama-english\n"
      "  edgeq prune models/llama --budget parameters=100M --of heads,ffn,blocks -o llama-100m\n"
      "  edgeq prune models/llama --nm 2:4 --mask sparsegpt --calibration text.txt -o llama-2of4\n"
      "  edgeq prune models/llama --blocks 0.2 --dry-run");
  command->callback([args] { prune_command(*args); });
}

}  // namespace edgeq
