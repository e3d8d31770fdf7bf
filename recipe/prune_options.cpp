// SPDX-License-Identifier: Apache-2.0
#include "recipe/prune_options.h"

#include "core/error.h"

namespace edgeq {

std::optional<MaskSpec> mask_spec(const std::optional<Sparsity>& share,
                                  const std::optional<Sparsity>& pattern, std::string_view method) {
  if (share && pattern) throw Error("both sparsity and nm; expected one of the two");
  if (!share && !pattern) {
    if (!method.empty()) throw Error("mask says how, but not how much; expected sparsity or nm too");
    return std::nullopt;
  }
  MaskSpec mask{.sparsity = share ? *share : *pattern};
  if (!method.empty()) mask.method = mask_method(method).name;
  return mask;
}

std::optional<PruneBudget> prune_budget(const std::optional<SizeLimit>& limit, std::string_view kinds) {
  if (!limit) {
    if (!kinds.empty())
      throw Error("of says what a budget may cut, and there is none; expected a budget too");
    return std::nullopt;
  }
  PruneBudget budget{.limit = *limit, .of = {}};
  if (!kinds.empty()) budget.of = parse_unit_kinds(kinds);
  return budget;
}

}  // namespace edgeq
