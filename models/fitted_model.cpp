// SPDX-License-Identifier: Apache-2.0
#include "models/fitted_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "models/carry.h"
#include "models/sites.h"

namespace edgeq {
namespace {

// A few rows at a time: the float form of a large table would be most of the memory.
Tensor as_floats(const CodedWeight& weight, DType dtype) {
  constexpr int64_t kRows = 256;
  Tensor floats(dtype, {weight.rows(), weight.cols()});
  for (int64_t r = 0; r < weight.rows(); r += kRows) {
    const int64_t count = std::min(kRows, weight.rows() - r);
    const Tensor rows = from_f32(dequantize(weight, r, count), dtype);
    std::memcpy(floats.data() + r * weight.cols() * dtype_bytes(dtype), rows.data(), size_t(rows.bytes()));
  }
  return floats;
}

bool keeps_codes(const WeightForm& have, const WeightForm& form) {
  if (!form.scheme) return true;
  return have.scheme && carry_obstacle(*have.scheme, *form.scheme, have.cols).empty();
}

}  // namespace

FittedModel::FittedModel(const CodedModel& source, const Target& target, ChooseCodes choose)
    : source_(source), choose_(std::move(choose)) {
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
    fits_.emplace(site.name, Fit{.form = placed.form, .verdict = std::move(verdict)});
  }
}

const FittedModel::Fit& FittedModel::fit(std::string_view site) const {
  const auto found = fits_.find(site);
  if (found == fits_.end()) throw Error(fmt::format("{}: there is no weight {}", path(), site));
  return found->second;
}

WeightForm FittedModel::form(std::string_view site) const { return fit(site).form; }

CodedWeight FittedModel::weight(std::string_view site) const {
  const Fit& wanted = fit(site);
  CodedWeight source = source_.weight(site);
  const bool same = source.codes ? wanted.form.scheme == source.codes->scheme
                                 : !wanted.form.scheme && wanted.form.dtype == source.kept.dtype();
  if (same) return source;
  CodedWeight fitted;
  with_context(site, [&] {
    if (!wanted.form.scheme) {
      fitted.kept = as_floats(source, wanted.form.dtype);
    } else if (wanted.verdict.anew) {
      fitted.codes = choose_(as_floats(source, DType::f32), *wanted.form.scheme);
    } else {
      fitted.codes = carry(*source.codes, *wanted.form.scheme);
    }
    if (wanted.measured) return;
    wanted.verdict.largest_error = largest_difference(source, fitted);
    wanted.measured = true;
    if (!std::isfinite(wanted.verdict.largest_error))
      throw Error(fmt::format("a weight is beyond what {} holds", form_text(wanted.form)));
  });
  return fitted;
}

std::vector<Verdict> FittedModel::verdicts() const {
  std::vector<Verdict> all;
  for (const SiteShape& site : all_sites(config())) all.push_back(fit(site.name).verdict);
  return all;
}

}  // namespace edgeq
