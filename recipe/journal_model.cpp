// SPDX-License-Identifier: Apache-2.0
#include "recipe/journal_model.h"

#include <fmt/format.h>

#include "core/error.h"
#include "recipe/tune.h"

namespace edgeq {
JournalModel::JournalModel(const Plan& plan, const Journal& journal, const Tokenizer& tokenizer,
                           Provenance provenance)
    : plan_(plan), journal_(journal), tokenizer_(tokenizer.serialize()), provenance_(std::move(provenance)) {
  for (const std::string& name : part_names(plan.config)) {
    PartResult part = journal.load(shipped_part(journal, name));
    for (SiteResult& site : part.sites) {
      if (!site.bias.empty()) vectors_.emplace(site.name + ".bias", std::move(site.bias));
      sites_.push_back(std::move(site.report));
    }
    for (NamedTensor& vector : part.vectors) vectors_.emplace(vector.name, std::move(vector.tensor));
  }
}

WeightForm JournalModel::form(std::string_view site) const {
  const SitePlan& plan = plan_.site(site);
  WeightForm form{.rows = plan.rows, .cols = plan.cols};
  if (plan.keep) {
    form.dtype = *plan.keep;
  } else {
    form.scheme = plan.scheme;
  }
  return form;
}

Activations JournalModel::activations() const {
  const Activations inputs = plan_.recipe.calibration.inputs;
  return inputs == Activations::f32 ? CodedModel::activations() : inputs;
}

const SiteResult& JournalModel::result(std::string_view site) const {
  const std::string part = shipped_part(journal_, part_of_site(site));
  if (part_.part != part) part_ = journal_.load(part);
  return part_.site(site);
}

CodedWeight JournalModel::weight(std::string_view site) const {
  const SiteResult& found = result(site);
  return {.codes = found.quantized, .kept = found.kept};
}

Tensor JournalModel::vector(std::string_view name) const {
  const auto found = vectors_.find(name);
  if (found == vectors_.end())
    throw Error(fmt::format("{}: the journal does not hold {}", journal_.folder(), name));
  return found->second;
}

}  // namespace edgeq
