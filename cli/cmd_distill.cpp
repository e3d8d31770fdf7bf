// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "cli/commands.h"
#include "cli/engines.h"
#include "cli/heal_stage.h"
#include "cli/progress_bar.h"
#include "cli/ship_check.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text.h"
#include "core/version.h"
#include "eval/machine.h"
#include "formats/output_folder.h"
#include "formats/staged_output.h"
#include "models/any_model.h"
#include "recipe/distill_model.h"
#include "recipe/prune_model.h"

namespace edgeq {
namespace {

struct DistillArgs {
  std::string recipe, output, target;
  int threads = 0;
  bool dry_run = false, overwrite = false, json = false, quiet = false;
};

// The form that is written: as asked, else packed where codes were trained, else as the student's file is.
std::string target_of(const DistillArgs& args, const DistillRecipe& recipe, const Beginning& beginning) {
  if (!args.target.empty()) return args.target;
  if (!recipe.target.empty()) return recipe.target;
  return beginning.codes.empty() ? float_target_of(*beginning.like) : "packed";
}

std::string plan_text(const DistillRecipe& recipe, const Beginning& beginning, const Dataset& data) {
  const TrainSpec& train = recipe.training.train;
  std::string text =
      fmt::format("student      {} weights, {} layers{}\n", beginning.student.config.weight_count(),
                  beginning.student.config.layers.size(),
                  beginning.codes.empty()
                      ? ""
                      : fmt::format(", {} sites trained through their rounding{}", beginning.codes.size(),
                                    beginning.inputs == Activations::f32
                                        ? ""
                                        : fmt::format(", inputs {}", activations_text(beginning.inputs))));
  text += fmt::format("data         {}\n", data_text(data));
  if (train.teacher_cache)
    text += fmt::format(
        "teacher      kept as {}, in {}\n", form_text(*train.teacher_cache),
        recipe.training.cache_folder.empty() ? "the folder of checkpoints" : recipe.training.cache_folder);
  for (const LossTerm& term : train.losses)
    text += fmt::format("loss         {} x {:g}{}\n", loss_name(term.kind), term.weight,
                        term.weight == term.final_weight ? "" : fmt::format(" to {:g}", term.final_weight));
  return text + fmt::format("training     {} tokens, {} sequences a step, rate {:g}\n", train.tokens,
                            train.batch, train.rate);
}

void distill_command(DistillArgs& args) {
  keep_freed_memory();
  if (args.threads != 0) set_thread_count(args.threads);
  args.output = without_slash(args.output);
  const DistillRecipe recipe = load_distill_recipe(args.recipe);
  const auto teacher = recipe.teacher.empty() ? nullptr : open_any_checkpoint(recipe.teacher);
  const auto model = recipe.student.model.empty() ? nullptr : open_any_checkpoint(recipe.student.model);
  const Checkpoint& speaks = model != nullptr ? *model : *teacher;
  const int64_t common = teacher != nullptr
                             ? common_vocab(speaks.tokenizer(), speaks.config().vocab, *teacher)
                             : speaks.config().vocab;
  if (!args.overwrite && !args.output.empty()) refuse_existing(args.output);
  const Dataset data = with_context(fmt::format("recipe {}", args.recipe), [&] {
    return read_training_data(recipe.training.data, speaks, recipe.training.train.seed);
  });
  if (recipe.training.train.teacher_cache)
    with_context(fmt::format("recipe {}: teacher_cache", args.recipe),
                 [&] { check_form(*recipe.training.train.teacher_cache, common); });
  Beginning beginning = begin_student(recipe.student, model, teacher, recipe.training.train.seed);
  const auto target = parse_target(target_of(args, recipe, beginning));
  target->check(beginning.student.config);
  if (!args.json) fmt::print("{}", plan_text(recipe, beginning, data));
  if (args.dry_run) return;
  if (args.output.empty()) throw Error("no output; expected -o FOLDER");
  make_folder_of(args.output);
  const auto not_run = run_check_obstacle(beginning.student.config);
  const std::string folder = args.output + ".work";
  ProgressBar bar(args.quiet || args.json);
  const Distilled done = distill({.spec = recipe.training,
                                  .title = recipe.title,
                                  .beginning = std::move(beginning),
                                  .teacher = teacher,
                                  .common_vocab = common,
                                  .data = data,
                                  .folder = folder,
                                  .adapters = recipe.student.adapters,
                                  .train = &train_on_torch,
                                  .teach = &teach_on_torch,
                                  .stepped = show_steps(bar)},
                                 bar.callback());
  bar.finish_line();
  const Shipped shipped =
      ship({.source = *done.model,
            .target = *target,
            .output = args.output,
            .existing = args.overwrite ? OutputFile::Existing::replace : OutputFile::Existing::refuse,
            .run = not_run ? RunCheck() : run_check(args.threads)});
  const std::string report = train_json(done.report, args.output) + "\n";
  write_file(args.output + ".report.json", report, OutputFile::Existing::replace);
  write_file(
      args.output + ".report.html",
      train_page(done.report,
                 {.title = recipe.title,
                  .data = fmt::format("{}: {}", data.name, data_text(data)),
                  .teacher = teacher == nullptr
                                 ? ""
                                 : std::filesystem::path(without_slash(recipe.teacher)).filename().string(),
                  .machine = machine_name(),
                  .version = std::string(version()),
                  .date = today()}),
      OutputFile::Existing::replace);
  std::filesystem::remove_all(folder);
  if (args.json) {
    fmt::print("{}", report);
    return;
  }
  fmt::print("{}\n{}: {} as {}\nreport {}.report.html (also .json)\n", train_summary(done.report),
             args.output, bytes_text(shipped.bytes), target->name(), args.output);
  if (not_run) fmt::print("note: read back equal, not run: {}\n", *not_run);
}

}  // namespace

void add_distill_command(CLI::App& app) {
  const auto args = std::make_shared<DistillArgs>();
  CLI::App* command = app.add_subcommand(
      "distill", "Trains a student after a teacher: a smaller model, a pruned one, or one that is rounded");
  command->add_option("recipe", args->recipe, "a YAML file: teacher, student, data, losses, train")
      ->required();
  command->add_option("-o,--output", args->output, "folder to write; a file for packed and GGUF targets");
  command->add_option("--for", args->target, "target (edgeq list targets); default: as the student is");
  command->add_option("--threads", args->threads, "threads, 0: all cores")->check(CLI::Range(0, 256));
  command->add_flag("--dry-run", args->dry_run, "print student, data and losses, and stop");
  command->add_flag("--overwrite", args->overwrite, "replace an existing output");
  command->add_flag("--json", args->json, "print the report as JSON");
  command->add_flag("--quiet", args->quiet, "no progress");
  command->footer(
      "Examples:\n"
      "  edgeq distill heal.yaml -o llama-healed\n"
      "  edgeq distill heal.yaml --dry-run\n"
      "A training that was stopped or killed goes on from its last checkpoint with the same command.");
  command->callback([args] { distill_command(*args); });
}

}  // namespace edgeq
