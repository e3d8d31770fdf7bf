// SPDX-License-Identifier: Apache-2.0
#include "models/activations.h"

#include <fmt/format.h>

#include "core/error.h"

namespace edgeq {
namespace {

constexpr std::string_view kNames[] = {"f32", "int8_block", "int8_token", "int8_static"};  // as in the enum

}  // namespace

std::string_view activations_text(Activations activations) { return kNames[size_t(activations)]; }

Activations parse_activations(std::string_view text) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i] == text) return Activations(i);
  throw Error(
      fmt::format("activations are \"{}\"; expected f32, int8_block, int8_token or int8_static", text));
}

}  // namespace edgeq
