// SPDX-License-Identifier: Apache-2.0
// A complete journal as a model: what was just quantized goes to its target without a file in between.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/coded_model.h"
#include "recipe/journal.h"
#include "recipe/plan.h"
#include "recipe/write.h"

namespace edgeq {

class JournalModel final : public CodedModel {
 public:
  // Plan and journal outlive it. Every part is read once for what is small, norms, biases and reports; then
  // one part is held in memory at a time, and read when its first weight is.
  JournalModel(const Plan& plan, const Journal& journal, const Tokenizer& tokenizer, Provenance provenance);

  const std::string& path() const override { return journal_.folder(); }
  const ModelConfig& config() const override { return plan_.config; }
  Tokenizer tokenizer() const override { return Tokenizer::deserialize(tokenizer_); }
  KvScheme kv() const override { return plan_.recipe.kv; }
  Activations activations() const override;
  float input_scale(std::string_view site) const override { return result(site).input_scale; }
  std::string provenance_json() const override { return edgeq::provenance_json(plan_, provenance_, sites_); }
  WeightForm form(std::string_view site) const override;
  CodedWeight weight(std::string_view site) const override;
  Tensor vector(std::string_view name) const override;

  const std::vector<SiteReport>& sites() const { return sites_; }  // in the order of the plan's parts

 private:
  const SiteResult& result(std::string_view site) const;

  const Plan& plan_;
  const Journal& journal_;
  std::vector<std::byte> tokenizer_;
  Provenance provenance_;
  std::vector<SiteReport> sites_;
  std::map<std::string, Tensor, std::less<>> vectors_;
  mutable PartResult part_;
};

}  // namespace edgeq
