// SPDX-License-Identifier: Apache-2.0
#include "recipe/pipeline.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"
#include "core/timer.h"
#include "core/version.h"
#include "formats/staged_output.h"
#include "recipe/allocate.h"
#include "recipe/compress.h"
#include "recipe/journal_model.h"
#include "recipe/sensitivity.h"
#include "recipe/write.h"

namespace edgeq {
namespace {

// " damp=0.01 order=none"
std::string options_key(const Options& options) {
  std::string key;
  for (const auto& [name, value] : options.values()) key += fmt::format(" {}={}", name, value);
  return key;
}

std::string site_key(const Plan& plan, const SitePlan& site) {
  const Rule& rule = plan.recipe.rules[size_t(site.rule)];
  std::string key = fmt::format("{} {}{}", site.name, site.treatment(), options_key(rule.options));
  if (site.correction) key += " correct" + options_key(*rule.correct);
  for (const std::string& name : rule.refine) key += " " + name;
  return key + '\n';
}

// Everything that the codes depend on.
std::string journal_key(const Plan& plan, const QuantizeInputs& in) {
  std::string key =
      fmt::format("edgeq {}\nmodel {}\ntarget {}\n", version(), in.checkpoint.hash(), plan.recipe.target);
  if (in.calibration != nullptr)
    key += fmt::format("corpus {}\nwindows {} of {}\n", in.calibration->hash(),
                       in.calibration->windows.count(), in.calibration->windows.length);
  key += plan.recipe.calibration.statistics.empty() ? "statistics of the compressed model\n"
                                                    : "statistics of the float model\n";
  const CalibrationSpec& calibration = plan.recipe.calibration;
  if (calibration.inputs != Activations::f32)
    key += fmt::format("inputs {}\n", activations_text(calibration.inputs));
  if (calibration.inputs == Activations::int8_static)
    key += fmt::format("observer {}\n", observer_text(calibration.observer));
  for (const TransformSpec& transform : plan.recipe.transforms)
    key += fmt::format("transform {}{}\n", transform.name, options_key(transform.options));
  if (plan.tuning) key += fmt::format("tune{}\n", options_key(*plan.recipe.tune));
  if (plan.is_open()) key += fmt::format("{} bytes for all sites\n", plan.budget_bytes);
  for (const auto& candidates : plan.candidates)
    for (const SitePlan& site : candidates) key += site_key(plan, site);
  return key;
}

// The plan with every site decided. What a budget chose, and why, is left in `report`.
Plan decided(const Plan& plan, const QuantizeInputs& in, Journal& journal, const Progress& progress,
             std::optional<BudgetReport>& report) {
  if (!plan.is_open()) return plan;
  EDGEQ_CHECK(in.calibration != nullptr && in.backward != nullptr, "a choice needs text and gradients");
  Allocation allocation = allocate(
      plan,
      measure_sensitivities(
          {.plan = plan, .model = in.model, .backward = *in.backward, .windows = in.calibration->windows},
          journal, progress));
  report = std::move(allocation.report);
  return std::move(allocation.plan);
}

}  // namespace

QuantizeOutcome quantize_model(const Plan& open_plan, const QuantizeInputs& in, const Progress& progress) {
  const Timer timer;
  if (in.existing == OutputFile::Existing::refuse) refuse_existing(in.output);
  std::optional<StatsMap> statistics;
  const std::string& cache = open_plan.recipe.calibration.statistics;
  if (!cache.empty() && open_plan.needs_statistics()) {
    EDGEQ_CHECK(in.calibration != nullptr, "cached statistics are checked against the calibration text");
    statistics = read_stats(cache, stats_key(in.checkpoint, *in.calibration));
  }
  Journal journal(in.output + ".work", journal_key(open_plan, in));
  std::optional<BudgetReport> budget;
  const Plan plan = decided(open_plan, in, journal, progress, budget);
  const Windows none;
  compress({.plan = plan,
            .model = in.model,
            .windows = in.calibration != nullptr ? in.calibration->windows : none,
            .statistics = statistics ? &*statistics : nullptr},
           journal, progress);
  std::optional<TuneReport> tuning;
  if (plan.tuning) {
    EDGEQ_CHECK(in.calibration != nullptr && in.backward != nullptr, "tuning needs text and gradients");
    Windows windows = in.calibration->tuning;
    windows.tokens.resize(size_t(plan.tuning->windows * windows.length));
    tuning = tune({.plan = plan, .model = in.model, .backward = *in.backward, .windows = windows}, journal,
                  progress, in.on_step);
  }
  Provenance provenance{.model_name = std::filesystem::path(in.checkpoint.path()).filename().string(),
                        .model_hash = in.checkpoint.hash()};
  if (plan.needs_text() && in.calibration != nullptr) {
    provenance.texts = in.calibration->texts;
    provenance.windows = in.calibration->windows.count();
    provenance.window_tokens = in.calibration->windows.length;
  }
  if (budget) provenance.predicted_kl = budget->kl;
  provenance.tuning = tuning;
  const JournalModel codes(plan, journal, in.checkpoint.tokenizer(), std::move(provenance));
  Shipped shipped = ship(
      {.source = codes, .target = *plan.target, .output = in.output, .existing = in.existing, .run = in.run});
  journal.remove();
  return {.file_bytes = shipped.bytes,
          .seconds = timer.seconds(),
          .bits_per_weight = plan.bits_per_weight(),
          .sites = codes.sites(),
          .budget = std::move(budget),
          .tuning = std::move(tuning),
          .notes = std::move(shipped.notes)};
}

}  // namespace edgeq
