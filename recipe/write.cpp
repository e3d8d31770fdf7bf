// SPDX-License-Identifier: Apache-2.0
#include "recipe/write.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/version.h"
#include "models/export.h"

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

void add_part(PackedWriter& writer, const PartResult& part) {
  for (const SiteResult& site : part.sites) {
    if (site.quantized)
      writer.add(site.name, *site.quantized);
    else
      writer.add(site.name, site.kept);
    if (!site.bias.empty())
      writer.add_vector(site.name + ".bias", {site.bias.f32(), size_t(site.bias.size())});
  }
  for (const NamedTensor& v : part.vectors)
    writer.add_vector(v.name, {v.tensor.f32(), size_t(v.tensor.size())});
}

}  // namespace

std::vector<std::string> part_names(const ModelConfig& config) {
  std::vector<std::string> names{"embedding"};
  for (size_t b = 0; b < config.layers.size(); ++b) names.push_back(fmt::format("layers.{}", b));
  if (!config.tied_head) names.emplace_back("head");
  return names;
}

std::string provenance_json(const Plan& plan, const Provenance& p, const std::vector<SiteReport>& sites) {
  ordered_json j;
  j["tool"] = fmt::format("edgeq {}", version());
  j["model"] = {{"name", p.model_name}, {"hash", p.model_hash}};
  if (!p.corpus_name.empty())
    j["calibration"] = {{"corpus", p.corpus_name},
                        {"corpus_hash", p.corpus_hash},
                        {"windows", p.windows},
                        {"window_tokens", p.window_tokens}};
  j["recipe"] = {
      {"name", plan.recipe.name}, {"text", plan.recipe.text}, {"target", target_text(plan.recipe.target)}};
  for (const SiteReport& s : sites) j["sites"].push_back(site_json(s));
  return j.dump();
}

namespace {

WrittenModel write_packed(const Plan& plan, const Journal& journal, const Tokenizer& tokenizer,
                          const Provenance& provenance, const std::string& path,
                          OutputFile::Existing existing) {
  PackedWriter writer(path, existing);
  WrittenModel written;
  for (const std::string& name : part_names(plan.config)) {
    const PartResult part = journal.load(name);
    add_part(writer, part);
    for (const SiteResult& site : part.sites) written.sites.push_back(site.report);
  }
  written.file_bytes =
      writer.finish(plan.config, tokenizer.serialize(), provenance_json(plan, provenance, written.sites));
  return written;
}

}  // namespace

WrittenModel write_model(const Plan& plan, const Journal& journal, const Tokenizer& tokenizer,
                         const Provenance& provenance, const std::string& path,
                         OutputFile::Existing existing) {
  if (plan.recipe.target == Target::packed)
    return write_packed(plan, journal, tokenizer, provenance, path, existing);
  // Another tool's file is made from the packed one, code for code.
  const std::string packed = journal.folder() + "/model.packed";
  WrittenModel written =
      write_packed(plan, journal, tokenizer, provenance, packed, OutputFile::Existing::replace);
  written.file_bytes = export_gguf(*coded_model(PackedModel::open(packed)), path, existing);
  return written;
}

}  // namespace edgeq
