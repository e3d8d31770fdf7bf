// SPDX-License-Identifier: Apache-2.0
#include "recipe/write.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/version.h"

namespace edgeq {
namespace {

using nlohmann::ordered_json;

ordered_json site_json(const SiteReport& s) {
  ordered_json j{
      {"name", s.name}, {"scheme", s.scheme}, {"method", s.method}, {"relative_error", s.relative_error}};
  j["error_at"] = s.calibrated ? "outputs" : "weights";
  if (s.correction != 0) j["correction"] = s.correction;
  if (s.tokens != 0) j["tokens"] = s.tokens;
  if (s.damping != 0) j["damping"] = s.damping;
  if (s.damping_raises != 0) j["damping_raises"] = s.damping_raises;
  if (s.dead_columns != 0) j["dead_columns"] = s.dead_columns;
  return j;
}

}  // namespace

std::string provenance_json(const Plan& plan, const Provenance& p, const std::vector<SiteReport>& sites) {
  ordered_json j;
  j["tool"] = fmt::format("edgeq {}", version());
  j["model"] = {{"name", p.model_name}, {"hash", p.model_hash}};
  if (!p.texts.empty()) {
    j["calibration"] = {{"windows", p.windows}, {"window_tokens", p.window_tokens}};
    for (const CalibrationText& text : p.texts)
      j["calibration"]["texts"].push_back({{"corpus", text.name}, {"corpus_hash", text.hash}});
  }
  j["recipe"] = {{"name", plan.recipe.name}, {"text", plan.recipe.text}, {"target", plan.recipe.target}};
  if (p.predicted_kl)
    j["budget"] = {{"asked", budget_text(*plan.recipe.budget)},
                   {"weight_bytes", plan.budget_bytes},
                   {"weight_bytes_taken", plan.weight_bytes},
                   {"predicted_kl", *p.predicted_kl}};
  if (p.tuning)
    j["tuning"] = {{"what", p.tuning->what},
                   {"windows", p.tuning->windows},
                   {"heldout_windows", p.tuning->heldout_windows},
                   {"steps", p.tuning->steps},
                   {"kept_step", p.tuning->heldout[size_t(p.tuning->kept)].step},
                   {"heldout_kl_before", p.tuning->heldout.front().kl},
                   {"heldout_kl", p.tuning->heldout[size_t(p.tuning->kept)].kl}};
  for (const SiteReport& s : sites) j["sites"].push_back(site_json(s));
  return j.dump();
}

}  // namespace edgeq
