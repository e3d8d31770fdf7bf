// SPDX-License-Identifier: Apache-2.0
#include "recipe/prune_model.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/dtype.h"
#include "core/error.h"
#include "core/version.h"
#include "models/export_hf.h"

namespace edgeq {
namespace {

std::string provenance(const PruneJob& job) {
  nlohmann::ordered_json j;
  j["tool"] = fmt::format("edgeq {}", version());
  j["pruned_from"] = {
      {"name", std::filesystem::path(job.checkpoint->path()).lexically_normal().filename().string()},
      {"hash", job.checkpoint->hash()}};
  j["prune"] = prune_key(job.spec);
  if (job.calibration != nullptr)
    for (const CalibrationText& text : job.calibration->texts)
      j["texts"].push_back({{"corpus", text.name}, {"corpus_hash", text.hash}});
  return j.dump();
}

bool heads_can_go(const CutShares& options, const ModelConfig& config) {
  const std::vector<double> steps = shares_to_cut(config.layers[0], options, true);
  if (steps.size() < 2) return false;
  PruneSpec first;
  first.shares = options;
  first.shares.heads = steps[1];
  try {
    require_config(first, config);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::string float_target_of(const Checkpoint& checkpoint) {
  const auto dtype = parse_dtype(checkpoint.encoding("layers.0.attn.q_proj"));
  if (dtype == DType::f16) return "f16";
  return dtype == DType::bf16 ? "bf16" : "f32";
}

std::shared_ptr<const Target> pruned_target(const PruneSpec& spec, const Checkpoint& checkpoint,
                                            std::string_view name) {
  const std::string own = float_target_of(checkpoint);
  if (name.empty()) return parse_target(spec.per_layer ? "gguf:" + own : own);
  constexpr std::string_view kGguf = "gguf:";
  const bool gguf = name.starts_with(kGguf);
  const std::string_view type = gguf ? name.substr(kGguf.size()) : name;
  if (type != "f32" && type != "f16" && type != "bf16")
    throw Error(fmt::format("--for is {}; a pruned model is written as f32, f16, bf16 or one of these with "
                            "gguf: before it",
                            name))
        .set_hint("quantize it afterwards, or in one recipe with a prune stage");
  if (spec.per_layer && !gguf)
    throw Error(fmt::format("no config of a folder says layers with different numbers of heads, and --for is "
                            "{}; expected gguf:{}",
                            name, type))
        .set_hint("or quantize it in one recipe with a prune stage: packed files hold any layers");
  return parse_target(name);
}

PruneSpec within_budget(const PruneSpec& spec, const ModelConfig& config, std::string_view target) {
  if (!spec.budget) return spec;
  if (spec.per_layer)
    throw Error(
        "heads per layer are shared out by their share, and there is a budget; expected one of the two");
  std::vector<UnitKind> kinds = spec.budget->of;
  for (const UnitKind kind : kinds)
    if (spec.shares.*share_of(kind) != 0)
      throw Error(fmt::format("both a share of {} and a budget by cutting them; expected one of the two",
                              unit_kinds_text({&kind, 1})));
  if (kinds.empty()) {
    if (spec.shares.heads == 0 && heads_can_go(spec.shares, config)) kinds.push_back(UnitKind::heads);
    if (spec.shares.ffn == 0) kinds.push_back(UnitKind::ffn);
  }
  if (kinds.empty())
    throw Error("a budget, and shares of heads and ffn, leave nothing to choose; expected one of the two");
  PruneSpec found = spec;
  found.budget.reset();
  found.shares =
      shares_within(spec.budget->limit, kinds, spec.shares, config, target.ends_with("f32") ? 4 : 2);
  return found;
}

void require_config(const PruneSpec& spec, const ModelConfig& before) {
  if (spec.per_layer) return;
  const ModelConfig config = plan_cuts(spec, before).config;
  try {
    hf_config_json(config, TokenizerData(), DType::f32, "");
  } catch (const Error&) {
    const LayerShape& layer = config.layers[0];
    throw Error(
        fmt::format("no config of a {} model says {} heads of {} in a width of {}, {} channels and {} blocks",
                    config.family, layer.heads, layer.head_dim, config.hidden, layer.ffn,
                    config.layers.size()))
        .set_hint(layer.heads * layer.head_dim == config.hidden
                      ? "prune another part"
                      : "such models can lose channels (--ffn) and blocks");
  }
}

Journal prune_journal(const PruneJob& job, const std::string& folder) {
  std::string key =
      fmt::format("edgeq {}\nmodel {}\nprune {}", version(), job.checkpoint->hash(), prune_key(job.spec));
  if (job.calibration != nullptr)
    key += fmt::format("corpus {}\nwindows {} of {}\n", job.calibration->hash(),
                       job.calibration->windows.count(), job.calibration->windows.length);
  return Journal(folder, key);
}

std::shared_ptr<const PrunedModel> prune_into(const PruneJob& job, Journal& journal,
                                              const Progress& progress) {
  const Windows none;
  Cuts cuts = prune({.spec = job.spec,
                     .model = job.model,
                     .backward = job.backward,
                     .windows = job.calibration != nullptr ? job.calibration->windows : none},
                    journal, progress);
  return std::make_shared<PrunedModel>(job.checkpoint, std::move(cuts), journal, provenance(job));
}

}  // namespace edgeq
