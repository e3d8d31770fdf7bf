// SPDX-License-Identifier: Apache-2.0
// What of pruning goes together, in the options of `edgeq prune` and in recipes alike; names are "" where
// they are not said. They throw Error for what does not.
#pragma once

#include <optional>
#include <string_view>

#include "recipe/prune_spec.h"

namespace edgeq {

// share: "sparsity"; pattern: "nm"; method: a name of pruning/mask.h.
std::optional<MaskSpec> mask_spec(const std::optional<Sparsity>& share,
                                  const std::optional<Sparsity>& pattern, std::string_view method);

// kinds: "heads,ffn" (pruning/size.h).
std::optional<PruneBudget> prune_budget(const std::optional<SizeLimit>& limit, std::string_view kinds);

}  // namespace edgeq
