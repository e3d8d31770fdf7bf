// SPDX-License-Identifier: Apache-2.0
// The stage `prune:` of a recipe.
#pragma once

#include "recipe/prune_spec.h"
#include "recipe/yaml_reader.h"

namespace edgeq {

// Throws Error with file and line, as all readers of recipes.
PruneSpec parse_prune(const YamlReader& reader, const YAML::Node& node);

}  // namespace edgeq
