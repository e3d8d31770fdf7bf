// SPDX-License-Identifier: Apache-2.0
// How many query heads each layer keeps when a share of all of them goes and layers may differ. The loss of
// a layer that keeps fewer is what the heads that go are worth by the `taylor` score (pruning/score.h), which
// is in the divergence of the whole model and so compares across layers; those go that are worth least, as
// far as KV heads allow. Of all distributions that meet the share, the one of least loss (recipe/knapsack.h).
#pragma once

#include <span>
#include <vector>

#include "models/config.h"

namespace edgeq {

// Lowers heads and kv_heads of the layers. worth: of each layer, [heads]. Numbers of heads are those that a
// config could say if all layers had them. At least round(share * all) heads go. Throws Error when that is
// none, or when not so many can.
void spread_heads(std::span<LayerShape> layers, std::span<const std::vector<double>> worth, double share,
                  bool whole_groups);

}  // namespace edgeq
