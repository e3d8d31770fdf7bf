// SPDX-License-Identifier: Apache-2.0
// What of pruning is written in words, in the options of `edgeq prune` and in recipes alike, each "" where it
// is not said. They throw Error for what does not go together.
#pragma once

#include <optional>
#include <string_view>

#include "recipe/prune_spec.h"

namespace edgeq {

// sparsity: "0.5"; nm: "2:4"; method: a name of pruning/mask.h.
std::optional<MaskSpec> mask_spec(std::string_view sparsity, std::string_view nm, std::string_view method);

// kinds: "heads,ffn" (pruning/size.h).
std::optional<PruneBudget> prune_budget(const std::optional<SizeLimit>& limit, std::string_view kinds);

}  // namespace edgeq
