// SPDX-License-Identifier: Apache-2.0
#include "cli/proof.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/child.h"
#include "cli/engines.h"
#include "cli/generate.h"
#include "core/error.h"
#include "core/version.h"
#include "eval/machine.h"
#include "formats/hdf5_file.h"
#include "formats/output_file.h"
#include "models/any_model.h"
#include "models/prompt.h"
#include "recipe/prove.h"

namespace edgeq {
namespace {

// What was written, as something that runs: an archive, which no engine opens, as the codes that it holds.
OpenModel open_written(const std::string& path, const RuntimeOptions& options) {
  if (!is_hdf5(path)) return open_runtime_model(path, options);
  const auto codes = open_any_checkpoint(path);
  return open_unwritten(*codes, int64_t(std::filesystem::file_size(path)), options);
}

// Greedy continuation of the recipe's prompt, for people to read.
std::string continuation(const OpenModel& open, const std::string& prompt, int64_t tokens) {
  const auto ids = with_bos(open.tokenizer.encode(prompt, SpecialTokens::plain), open.tokenizer);
  std::vector<TokenId> made;
  const auto session = open.model->start({.max_tokens = std::ssize(ids) + tokens});
  generate(
      *session, open.tokenizer, ids, {.tokens = tokens}, [] {},
      [&](TokenId token) { made.push_back(token); });
  return open.tokenizer.decode(made);
}

std::string_view kind_of(const std::string& target, const std::string& output) {
  if (std::filesystem::is_directory(output)) return "folder";
  return target == "packed" ? "packed file" : "file";
}

// What the recipe and its calibration say.
void describe_job(const ProofJob& job, const Windows& windows, Report& report) {
  report.title = job.recipe.title;
  report.model = std::filesystem::path(job.recipe.model).lexically_normal().filename().string();
  report.recipe = job.recipe.name;
  report.target = job.recipe.target;
  report.model_hash = job.checkpoint->hash();
  report.prompt = job.recipe.prove.prompt;
  if (job.calibration != nullptr) describe_calibration(*job.calibration, windows, report);
}

// The first of the calibration windows: enough to see whether the codes fit them better than other text.
Windows some_calibration_windows(const Calibration* calibration, int64_t proof_windows) {
  constexpr int64_t kMost = 8, kShortest = 4;
  if (calibration == nullptr || calibration->windows.length < kShortest) return {};
  Windows some = calibration->windows;
  some.tokens.resize(size_t(std::min({kMost, proof_windows, some.count()}) * some.length));
  return some;
}

// The proof as the model's context allows it.
ProofSpec fitted(ProofSpec spec, int64_t context) {
  if (spec.context > context)
    throw Error(fmt::format("the proof scores windows of {} tokens; the model's context is {}", spec.context,
                            context))
        .set_hint(fmt::format("prove: {{context: {}}}", context));
  if (spec.tokens >= context)
    throw Error(fmt::format("the proof times {} tokens after a prompt; the model's context is {}",
                            spec.tokens, context))
        .set_hint("prove: {tokens: 32}");
  spec.prompt_tokens = std::min(spec.prompt_tokens, context - spec.tokens);
  return spec;
}

}  // namespace

ProofMaterial prepare_proof(const ProofSpec& spec, const Checkpoint& checkpoint) {
  const int64_t context = checkpoint.config().context;
  const Tokenizer tokenizer = checkpoint.tokenizer();
  ProofMaterial material{.spec = fitted(spec, context), .corpus = read_corpus(spec.corpus, tokenizer)};
  material.windows = cut_windows(material.corpus, spec.context, spec.windows);
  material.tasks = read_tasks(spec.tasks, tokenizer, context, {.limit = spec.task_items});
  return material;
}

Report blank_report(const Corpus& corpus, const OpenModel& reference, int64_t context) {
  Report report;
  report.version = version();
  report.machine = machine_name();
  report.isa = active_isa();
  report.corpus = corpus.name;
  report.corpus_hash = corpus.hash;
  report.tokenizer_hash = reference.tokenizer.hash();
  report.context = context;
  report.date = today();
  return report;
}

void describe_calibration(const Calibration& calibration, const Windows& scored, Report& report) {
  report.calibration = calibration.name();
  report.calibration_hash = calibration.hash();
  report.calibration_windows = calibration.windows.count();
  report.calibration_tokens = calibration.windows.length;
  Windows seen = calibration.windows;
  seen.tokens.insert(seen.tokens.end(), calibration.tuning.tokens.begin(), calibration.tuning.tokens.end());
  report.calibrated_share = shared_share(scored, seen);
}

void write_report(const Report& report, const std::string& stem) {
  constexpr auto kReplace = OutputFile::Existing::replace;
  write_file(stem + ".json", report_json(report), kReplace);
  write_file(stem + ".md", report_markdown(report), kReplace);
  write_file(stem + ".html", report_html(report), kReplace);
}

void prove_files(const ProofJob& job, ProgressBar& bar) {
  const auto& [spec, corpus, windows, tasks] = job.material;
  const OpenModel reference =
      job.trimmed
          ? open_unwritten(*job.trimmed, 2 * job.trimmed->config().weight_count(), {.threads = job.threads})
          : open_model(job.recipe.model, Engine::automatic, {.threads = job.threads});
  // A file for another tool is opened as the float model that its codes mean: its speed is that tool's
  // affair.
  MeasureLatency measure;
  if (job.recipe.target == "packed")
    measure = [&](const std::string& file) {
      const ProofSpec& timed = job.material.spec;
      return measure_in_child(file, {.prompt_tokens = timed.prompt_tokens,
                                     .tokens = timed.tokens,
                                     .repeats = 3,
                                     .threads = job.threads});
    };
  const Windows calibration = some_calibration_windows(job.calibration, windows.count());
  Report report = blank_report(corpus, reference, spec.context);
  describe_job(job, windows, report);
  report.pruning = job.pruning;
  report.healing = job.healing;
  for (const ProofStage& stage : job.stages) {
    const Checkpoint& floats = *stage.checkpoint;
    // As 16-bit floats, which is what would be written.
    const OpenModel open =
        open_unwritten(floats, 2 * floats.config().weight_count(), {.threads = job.threads});
    report.rows.push_back(prove({.name = stage.title,
                                 .file = "",
                                 .model = *open.model,
                                 .facts = facts_of(open),
                                 .seconds = stage.seconds},
                                *reference.model,
                                {.windows = windows, .tasks = tasks, .calibration = calibration}, {},
                                bar.callback()));
  }
  for (const ProofFile& file : job.files) {
    const OpenModel written = open_written(file.path, {.threads = job.threads});
    const ProofSubject subject{.name = file.title,
                               .file = file.path,
                               .model = *written.model,
                               .facts = facts_of(written),
                               .seconds = file.seconds,
                               .sites = file.sites,
                               .budget = file.budget,
                               .tuning = file.tuning};
    report.rows.push_back(prove(subject, *reference.model,
                                {.windows = windows, .tasks = tasks, .calibration = calibration}, measure,
                                bar.callback()));
    if (&file == &job.files.back() && !spec.prompt.empty())
      report.continuation = continuation(written, spec.prompt, 48);
  }
  report.threads = report.rows.back().latency ? report.rows.back().latency->threads : 0;
  const ProofSubject floats{.name = job.trimmed ? "float, fewer tokens" : "float",
                            .file = job.recipe.model,
                            .model = *reference.model,
                            .facts = facts_of(reference)};
  report.rows.insert(report.rows.begin(),
                     reference_row(floats, report.rows.front().quality, tasks, measure, bar.callback()));
  bar.finish_line();
  const std::string stem = job.files.back().path + ".report";
  write_report(report, stem);
  if (job.json) {
    fmt::print("{}\n", report_json(report));
    return;
  }
  fmt::print("\n{}\n", report_table(report));
  if (const std::string warning = report_warning(report); !warning.empty()) fmt::print("{}\n\n", warning);
  if (!report.continuation.empty())
    fmt::print("{} says: {}{}\n\n", report.title, report.prompt, report.continuation);
  const std::string& output = job.files.back().path;
  fmt::print("{:<13}{}\nreport       {}.html (also .md, .json)\n", kind_of(job.recipe.target, output), output,
             stem);
  if (is_hdf5(output)) {
    fmt::print("next         edgeq convert {} --to packed -o OUT.packed\n", output);
  } else {
    fmt::print("next         edgeq run {} --prompt \"{}\" --tokens 64\n", output,
               spec.prompt.empty() ? "Once upon a time" : spec.prompt);
  }
}

}  // namespace edgeq
