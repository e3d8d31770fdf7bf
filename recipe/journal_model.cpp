// SPDX-License-Identifier: Apache-2.0
#include "recipe/journal_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace edgeq {
namespace {

class JournalModel final : public CodedModel {
 public:
  JournalModel(const Plan& plan, const Journal& journal, const Tokenizer& tokenizer, std::string provenance)
      : plan_(plan),
        journal_(journal),
        tokenizer_(tokenizer.serialize()),
        provenance_(std::move(provenance)) {}

  const std::string& path() const override { return journal_.folder(); }
  const ModelConfig& config() const override { return plan_.config; }
  Tokenizer tokenizer() const override { return Tokenizer::deserialize(tokenizer_); }
  std::string provenance_json() const override { return provenance_; }

  WeightForm form(std::string_view site) const override {
    const SitePlan& plan = plan_.site(site);
    WeightForm form{.rows = plan.rows, .cols = plan.cols};
    if (plan.keep) {
      form.dtype = *plan.keep;
    } else {
      form.scheme = plan.scheme;
    }
    return form;
  }
  CodedWeight weight(std::string_view site) const override {
    const SiteResult& result = part_of(site).site(site);
    return {.codes = result.quantized, .kept = result.kept};
  }
  Tensor vector(std::string_view name) const override {
    const PartResult& part = part_of(name);
    const auto found = std::ranges::find(part.vectors, name, &NamedTensor::name);
    if (found != part.vectors.end()) return found->tensor;
    if (name.ends_with(".bias")) return part.site(name.substr(0, name.size() - 5)).bias;
    throw Error(fmt::format("the journal's part {} does not hold {}", part.part, name));
  }

 private:
  const PartResult& part_of(std::string_view name) const {
    std::string part = "embedding";  // and what belongs to no block
    if (name.starts_with("layers.")) part = name.substr(0, name.find('.', 7));
    if (name.starts_with("head")) part = "head";
    if (part_.part != part) part_ = journal_.load(part);
    return part_;
  }

  const Plan& plan_;
  const Journal& journal_;
  std::vector<std::byte> tokenizer_;
  std::string provenance_;
  mutable PartResult part_;
};

}  // namespace

std::unique_ptr<CodedModel> journal_model(const Plan& plan, const Journal& journal,
                                          const Tokenizer& tokenizer, std::string provenance_json) {
  return std::make_unique<JournalModel>(plan, journal, tokenizer, std::move(provenance_json));
}

}  // namespace edgeq
