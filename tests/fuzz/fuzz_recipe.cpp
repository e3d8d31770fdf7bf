// SPDX-License-Identifier: Apache-2.0
// Recipes from arbitrary bytes: only Error may come out, and an accepted recipe has rules that say what to
// do.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "recipe/parse.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const edgeq::Recipe recipe =
        edgeq::parse_recipe({reinterpret_cast<const char*>(data), size}, "input.yaml");
    EDGEQ_CHECK(!recipe.rules.empty(), "an accepted recipe has rules");
    for (const edgeq::Rule& rule : recipe.rules)
      EDGEQ_CHECK(rule.keep || !rule.quantizer.empty(), "an accepted rule keeps or quantizes");
  } catch (const edgeq::Error&) {
  }
  return 0;
}
