// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "models/targets.h"

namespace edgeq {

std::vector<std::string> foreign_notes(const CodedModel& model) {
  std::vector<std::string> notes;
  const auto add = [&](std::string_view what, std::string_view of) {
    notes.push_back(
        fmt::format("the model says {} for {}, which is edgeq's own and not in this file", what, of));
  };
  if (model.kv() != KvScheme{}) add(kv_scheme_text(model.kv()), "keys and values");
  if (model.activations() == Activations::int8_static) add(activations_text(model.activations()), "inputs");
  return notes;
}

}  // namespace edgeq
