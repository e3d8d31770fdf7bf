// SPDX-License-Identifier: Apache-2.0
// YAML -> Recipe. Every Error begins with "recipe FILE:LINE: "; unknown keys are errors that name the nearest
// known one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "recipe/recipe.h"

namespace edgeq {

// `file` is used in messages, and relative paths inside the recipe are resolved against its folder.
Recipe parse_recipe(std::string_view yaml, const std::string& file);

// A path of a YAML file, or the name of a recipe that is built in. Error: neither, listing the built-in
// names.
Recipe load_recipe(const std::string& path_or_name);

struct BuiltinRecipe {
  std::string_view name, yaml;
};
// Sorted by name; their text is compiled in from configs/recipes/.
const std::vector<BuiltinRecipe>& builtin_recipes();

}  // namespace edgeq
