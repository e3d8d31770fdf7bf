// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/engines.h"
#include "cli/heal_stage.h"
#include "cli/progress_bar.h"
#include "cli/proof.h"
#include "cli/prune_proof.h"
#include "cli/prune_stage.h"
#include "cli/self_text.h"
#include "cli/ship_check.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text.h"
#include "formats/output_folder.h"
#include "models/checkpoint_blocks.h"
#include "models/coded_checkpoint.h"
#include "recipe/parse.h"
#include "recipe/pipeline.h"
#include "recipe/prune.h"
#include "recipe/prune_model.h"
#include "recipe/trimmed_model.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

struct QuantizeArgs {
  std::string recipe, model, statistics, output, target, prove, budget;
  std::vector<std::string> calibration;
  int64_t windows = 0;
  int threads = 0;
  bool dry_run = false, overwrite = false, json = false, quiet = false, no_proof = false;
};

// What the command line says goes before what the recipe says.
Recipe load_with_overrides(const QuantizeArgs& args, const std::string& name) {
  Recipe recipe = load_recipe(name);
  if (!args.model.empty()) recipe.model = args.model;
  if (!args.calibration.empty()) recipe.calibration.corpus = args.calibration;
  if (!args.statistics.empty()) recipe.calibration.statistics = args.statistics;
  if (args.windows != 0) recipe.calibration.windows = args.windows;
  if (!args.target.empty()) recipe.target = parse_target(args.target)->name();
  if (!args.budget.empty())
    recipe.budget = with_context("--budget", [&] { return parse_budget(args.budget); });
  if (!args.prove.empty()) recipe.prove.corpus = args.prove;
  if (args.no_proof) recipe.prove.corpus.clear();
  if (!args.output.empty()) recipe.output = args.output;
  return recipe;
}

// "models/Llama-3.2-1B/" with int4 -> "Llama-3.2-1B-int4.packed"; a folder names its target:
// "Llama-3.2-1B-int4-gptq-g64".
std::string default_output(const Recipe& recipe) {
  const fs::path path(without_slash(recipe.model));
  const std::string model = (fs::is_directory(path) ? path.filename() : path.stem()).string();
  const auto target = parse_target(recipe.target);
  if (!target->ending().empty()) return fmt::format("{}-{}.{}", model, recipe.name, target->ending());
  std::string folder = fmt::format("{}-{}-{}", model, recipe.name, target->name());
  std::ranges::replace(folder, ':', '-');
  return folder;
}

// "out/llama.packed" -> "out/llama.int8.packed": where a recipe to compare with leaves its file. A folder has
// no ending: "out/llama-gptq" -> "out/llama-gptq.int8".
std::string output_beside(const std::string& output, const std::string& recipe, std::string_view ending) {
  const std::string tail = ending.empty() ? std::string() : "." + std::string(ending);
  if (!tail.empty() && output.ends_with(tail))
    return fmt::format("{}.{}{}", output.substr(0, output.size() - tail.size()), recipe, tail);
  return fmt::format("{}.{}", output, recipe);
}

struct Job {
  Plan plan;
  std::string output;
};

// The recipes of one call, those to compare with first: planned before any of them starts.
std::vector<Job> plan_jobs(const QuantizeArgs& args, const Recipe& main, const Checkpoint& checkpoint) {
  std::vector<Job> jobs;
  const std::string output = main.output.empty() ? default_output(main) : without_slash(main.output);
  const std::string ending(parse_target(main.target)->ending());
  for (const std::string& name : main.compare) {
    Recipe other = load_with_overrides(args, name);
    other.model = main.model;
    other.calibration.corpus = main.calibration.corpus;
    other.calibration.windows = main.calibration.windows;
    other.calibration.tokens = main.calibration.tokens;
    jobs.push_back({make_plan(other, checkpoint), output_beside(output, other.name, ending)});
  }
  jobs.push_back({make_plan(main, checkpoint), output});
  return jobs;
}

void print_plan(const Plan& plan, const std::string& output) {
  fmt::print("recipe {} ({}) -> {}\n{}", plan.recipe.name, plan.recipe.title, output, plan_text(plan));
}

void quantize(const QuantizeArgs& args) {
  if (args.threads != 0) set_thread_count(args.threads);
  Recipe recipe = load_with_overrides(args, args.recipe);
  if (recipe.heal) keep_freed_memory();
  if (recipe.model.empty())
    throw Error(fmt::format("recipe {}: names no model", recipe.name)).set_hint("add --model PATH");
  std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(recipe.model), trimmed;
  const ModelConfig whole = checkpoint->config();
  if (recipe.prune && recipe.prune->vocab)
    checkpoint = trimmed =
        trim_vocabulary(checkpoint, *recipe.prune->vocab, recipe.calibration.corpus).checkpoint;
  if (recipe.prune)
    recipe.prune = within_budget(*recipe.prune, checkpoint->config(), float_target_of(*checkpoint));
  std::vector<Job> jobs =
      plan_jobs(args, recipe, recipe.prune ? *planned_checkpoint(*recipe.prune, checkpoint) : *checkpoint);
  if (args.dry_run) {
    for (const Job& job : jobs) print_plan(job.plan, job.output);
    return;
  }
  std::optional<ProofMaterial> proof;
  if (!recipe.prove.corpus.empty()) proof = prepare_proof(recipe.prove, *checkpoint);
  const bool walks =
      std::any_of(jobs.begin(), jobs.end(), [](const Job& j) { return j.plan.needs_statistics(); });
  const bool reads = std::ranges::any_of(jobs, [](const Job& j) { return j.plan.needs_text(); });
  int64_t tuning_windows = 0;
  for (const Job& job : jobs)
    if (job.plan.tuning) tuning_windows = std::max(tuning_windows, job.plan.tuning->windows);
  std::optional<Calibration> calibration;
  ProgressBar bar(args.quiet || args.json);
  if (reads || (recipe.prune && prune_needs_text(*recipe.prune))) {
    const WriteWindows self = [&](int64_t count, int64_t length) {
      return self_windows(*checkpoint, count, length, jobs.back().output + ".work", args.threads,
                          bar.callback());
    };
    calibration = read_calibration(recipe.calibration, checkpoint->tokenizer(), self, tuning_windows);
    if (!args.json)
      fmt::print("calibration: {} windows of {} tokens of {}\n", calibration->windows.count(),
                 calibration->windows.length, calibration->name());
  }
  std::optional<HealStage> heal;
  if (recipe.heal) {
    heal.emplace(*recipe.heal, recipe.calibration.corpus, checkpoint, jobs.back().output + ".heal.work");
    if (!args.json) fmt::print("healing: {}\n", data_text(heal->data()));
  }
  std::optional<PruneStage> pruned;
  std::optional<PruneReport> pruning;
  std::optional<TrainReport> healing;
  std::vector<ProofStage> stages;
  if (recipe.prune) {
    const std::string folder = jobs.back().output + ".prune.work";
    make_folder_of(folder);
    pruned.emplace(*recipe.prune, checkpoint, calibration ? &*calibration : nullptr, folder, bar.callback());
    pruning = prune_report(*recipe.prune, whole, pruned->model()->cuts());
    checkpoint = pruned->checkpoint();
    stages.push_back({"pruned", checkpoint, pruned->seconds()});
    jobs = plan_jobs(args, recipe, *checkpoint);  // by the shapes that there are now
  }
  if (heal) {
    Distilled done = heal->run(checkpoint, bar);
    bar.finish_line();
    if (!args.json) fmt::print("healed: {}\n", train_summary(done.report));
    checkpoint = as_checkpoint(done.model);
    stages.push_back({"healed", checkpoint, done.report.seconds});
    healing = std::move(done.report);
  }
  const auto remove_stages = [&] {
    if (pruned) pruned->remove_journal();
    if (heal) heal->remove_folder();
  };
  const bool back = std::ranges::any_of(jobs, [](const Job& j) { return j.plan.needs_gradients(); });
  const bool float_engine = back || (walks && recipe.calibration.statistics.empty());
  const auto model = float_engine ? open_blockwise(checkpoint) : open_checkpoint_blocks(checkpoint);
  const auto backward = back ? open_backward(checkpoint->config()) : nullptr;

  const auto existing = args.overwrite ? OutputFile::Existing::replace : OutputFile::Existing::refuse;
  const auto not_run = run_check_obstacle(checkpoint->config());
  std::vector<ProofFile> files;
  const OnTuneStep on_step = [&](const TuneProgress& at) {
    bar.set_detail(fmt::format("KL {:.4f}, held out {:.4f}, {:.0f} tokens/s", at.kl, at.heldout_kl,
                               at.tokens_per_second));
  };
  for (const Job& job : jobs) {
    make_folder_of(job.output);
    const QuantizeOutcome done = quantize_model(job.plan,
                                                {.checkpoint = *checkpoint,
                                                 .model = *model,
                                                 .calibration = calibration ? &*calibration : nullptr,
                                                 .backward = backward.get(),
                                                 .output = job.output,
                                                 .existing = existing,
                                                 .run = not_run ? RunCheck() : run_check(args.threads),
                                                 .on_step = on_step},
                                                bar.callback());
    if (!args.json)
      fmt::print("{}: {}, {:.3f} bits per weight, {}\n", job.output, bytes_text(done.file_bytes),
                 done.bits_per_weight, duration_text(done.seconds));
    if (!args.json && done.budget) fmt::print("{}", budget_summary(*done.budget));
    if (!args.json && done.tuning) fmt::print("{}\n", tune_summary(*done.tuning));
    if (!args.json)
      for (const std::string& note : done.notes) fmt::print("note: {}\n", note);
    if (!args.json && not_run) fmt::print("note: read back equal, not run: {}\n", *not_run);
    files.push_back({job.plan.recipe.title, job.output, done.seconds, done.sites, done.budget, done.tuning});
  }
  if (!proof) {
    remove_stages();
    if (args.json) fmt::print("{{\"output\": \"{}\"}}\n", jobs.back().output);
    return;
  }
  prove_files({.recipe = recipe,
               .material = *proof,
               .checkpoint = checkpoint,
               .calibration = calibration ? &*calibration : nullptr,
               .stages = stages,
               .files = files,
               .pruning = std::move(pruning),
               .healing = std::move(healing),
               .trimmed = trimmed,
               .json = args.json,
               .threads = args.threads},
              bar);
  remove_stages();
}

}  // namespace

void add_quantize_command(CLI::App& app) {
  const auto args = std::make_shared<QuantizeArgs>();
  CLI::App* command =
      app.add_subcommand("quantize", "Applies a recipe to a model: packed weights and a proof");
  command->add_option("recipe", args->recipe, "a YAML file, or a built-in recipe (edgeq list recipes)")
      ->required();
  command->add_option("--model", args->model, "Hugging Face folder or .gguf");
  command
      ->add_option(
          "--calibration", args->calibration,
          "calibration text: .txt or .jsonl, `default` (comes with edgeq, taken when\n"
          "nothing is said) or `self` (the model writes it); given again, the texts share the windows")
      ->allow_extra_args(false);
  command->add_option("--windows", args->windows, "calibration windows, 0: as the recipe says")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 30));
  command->add_option("--statistics", args->statistics,
                      "statistics cached by edgeq calibrate, instead of walking");
  command->add_option("--prove", args->prove, "text to prove on");
  command->add_option("-o,--output", args->output, "file to write; a folder for Hugging Face targets");
  command->add_option("--for", args->target,
                      "target (edgeq list targets): fixes the grid before codes are chosen");
  command->add_option("--budget", args->budget,
                      "size of the file (80MB) or bits per weight (4.4bpw), for recipes that choose");
  command->add_option("--threads", args->threads, "threads, 0: all cores")->check(CLI::Range(0, 256));
  command->add_flag("--dry-run", args->dry_run,
                    "print what happens to each site, bytes and memory, and stop");
  command->add_flag("--overwrite", args->overwrite, "replace an existing output");
  command->add_flag("--no-proof", args->no_proof, "skip the proof that the recipe asks for");
  command->add_flag("--json", args->json, "print the report as JSON");
  command->add_flag("--quiet", args->quiet, "no progress");
  command->footer(
      "Examples:\n"
      "  edgeq quantize int4 --model models/llama --calibration text.txt -o llama.packed\n"
      "  edgeq quantize int8 --model model.gguf --dry-run\n"
      "  edgeq quantize int4 --model models/llama --calibration text.txt --for gguf:q4_0 -o llama.gguf");
  command->callback([args] { quantize(*args); });
}

}  // namespace edgeq
