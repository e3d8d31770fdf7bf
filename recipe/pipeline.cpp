// SPDX-License-Identifier: Apache-2.0
#include "recipe/pipeline.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"
#include "core/timer.h"
#include "core/version.h"
#include "formats/staged_output.h"
#include "recipe/compress.h"
#include "recipe/journal_model.h"
#include "recipe/write.h"

namespace edgeq {
namespace {

// Everything that the codes depend on.
std::string journal_key(const Plan& plan, const QuantizeInputs& in) {
  std::string key =
      fmt::format("edgeq {}\nmodel {}\ntarget {}\n", version(), in.checkpoint.hash(), plan.recipe.target);
  if (in.calibration != nullptr)
    key += fmt::format("corpus {}\nwindows {} of {}\n", in.calibration->hash(),
                       in.calibration->windows.count(), in.calibration->windows.length);
  key += plan.recipe.calibration.statistics.empty() ? "statistics of the compressed model\n"
                                                    : "statistics of the float model\n";
  if (plan.recipe.calibration.inputs != Inputs::floats)
    key += fmt::format("inputs {}\n", inputs_text(plan.recipe.calibration.inputs));
  for (const TransformSpec& transform : plan.recipe.transforms) {
    key += "transform " + transform.name;
    for (const auto& [name, value] : transform.options.values()) key += fmt::format(" {}={}", name, value);
    key += '\n';
  }
  for (const SitePlan& site : plan.sites) {
    key += fmt::format("{} {}", site.name, site.treatment());
    const Rule& rule = plan.recipe.rules[size_t(site.rule)];
    for (const auto& [name, value] : rule.options.values()) key += fmt::format(" {}={}", name, value);
    if (site.correction)
      for (const auto& [name, value] : rule.correct->values())
        key += fmt::format(" correct {}={}", name, value);
    for (const std::string& name : rule.refine) key += " " + name;
    key += '\n';
  }
  return key;
}

}  // namespace

QuantizeOutcome quantize_model(const Plan& plan, const QuantizeInputs& in, const Progress& progress) {
  const Timer timer;
  if (in.existing == OutputFile::Existing::refuse) refuse_existing(in.output);
  std::optional<StatsMap> statistics;
  if (!plan.recipe.calibration.statistics.empty() && plan.needs_statistics()) {
    EDGEQ_CHECK(in.calibration != nullptr, "cached statistics are checked against the calibration text");
    statistics = read_stats(plan.recipe.calibration.statistics, stats_key(in.checkpoint, *in.calibration));
  }
  Journal journal(in.output + ".work", journal_key(plan, in));
  const Windows none;
  compress({.plan = plan,
            .model = in.model,
            .windows = in.calibration != nullptr ? in.calibration->windows : none,
            .statistics = statistics ? &*statistics : nullptr},
           journal, progress);
  Provenance provenance{.model_name = std::filesystem::path(in.checkpoint.path()).filename().string(),
                        .model_hash = in.checkpoint.hash()};
  if (plan.needs_statistics() && in.calibration != nullptr) {
    provenance.texts = in.calibration->texts;
    provenance.windows = in.calibration->windows.count();
    provenance.window_tokens = in.calibration->windows.length;
  }
  const JournalModel codes(plan, journal, in.checkpoint.tokenizer(), std::move(provenance));
  Shipped shipped = ship(
      {.source = codes, .target = *plan.target, .output = in.output, .existing = in.existing, .run = in.run});
  journal.remove();
  return {.file_bytes = shipped.bytes,
          .seconds = timer.seconds(),
          .sites = codes.sites(),
          .notes = std::move(shipped.notes)};
}

}  // namespace edgeq
