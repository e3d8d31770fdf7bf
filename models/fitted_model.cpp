// SPDX-License-Identifier: Apache-2.0
#include "models/fitted_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/carry.h"
#include "models/sites.h"

namespace edgeq {
namespace {

Tensor as_floats(const CodedWeight& weight, DType dtype) {
  return cast_rows(weight.rows(), weight.cols(), dtype,
                   [&](int64_t first, int64_t count) { return dequantize(weight, first, count); });
}

bool keeps_codes(const WeightForm& have, const WeightForm& form) {
  if (!form.scheme) return true;
  return have.scheme && carry_obstacle(*have.scheme, *form.scheme, have.cols).empty();
}

}  // namespace

FittedModel::FittedModel(const CodedModel& source, const Target& target, ChooseCodes choose)
    : source_(source), choose_(std::move(choose)) {
  target.check(source.config());
  for (const SiteShape& site : all_sites(source.config())) {
    const WeightForm have = source.form(site.name);
    Placed placed;
    try {
      placed = target.keep(site, have);
    } catch (Error& error) {
      if (!choose_) throw error.add_context(site.name);
      placed = with_context(site.name, [&] { return target.choose(site, have); });
    }
    Verdict verdict{
        .site = site.name, .from = form_text(have), .to = form_text(placed.form), .note = placed.note};
    verdict.anew = !keeps_codes(have, placed.form);
    EDGEQ_CHECK(!verdict.anew || choose_, "keep() gives forms that keep codes");
    fits_.emplace(site.name, Fit{.placed = std::move(placed), .verdict = std::move(verdict)});
  }
}

const FittedModel::Fit& FittedModel::fit(std::string_view site) const {
  const auto found = fits_.find(site);
  if (found == fits_.end()) throw Error(fmt::format("{}: there is no weight {}", path(), site));
  return found->second;
}

WeightForm FittedModel::form(std::string_view site) const { return fit(site).placed.form; }

CodedWeight FittedModel::weight(std::string_view site) const {
  const Fit& wanted = fit(site);
  const WeightForm& form = wanted.placed.form;
  CodedWeight source = source_.weight(site);
  const bool same =
      source.codes ? form.scheme == source.codes->scheme : !form.scheme && form.dtype == source.kept.dtype();
  if (same) return source;
  CodedWeight fitted;
  with_context(site, [&] {
    if (!form.scheme) {
      fitted.kept = as_floats(source, form.dtype);
    } else if (wanted.verdict.anew) {
      fitted.codes = choose_(as_floats(source, DType::f32), wanted.placed);
    } else {
      fitted.codes = carry(*source.codes, *form.scheme);
    }
    if (wanted.measured) return;
    wanted.verdict.largest_error = largest_difference(source, fitted);
    wanted.measured = true;
    if (!std::isfinite(wanted.verdict.largest_error))
      throw Error(fmt::format("a weight is beyond what {} holds", form_text(form)));
  });
  return fitted;
}

std::vector<Verdict> FittedModel::verdicts() const {
  std::vector<Verdict> all;
  for (const SiteShape& site : all_sites(config())) all.push_back(fit(site.name).verdict);
  return all;
}

}  // namespace edgeq
