// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "models/targets.h"

namespace edgeq {

std::vector<std::string> foreign_notes(const CodedModel& model) {
  if (model.kv() == KvScheme{}) return {};
  return {fmt::format("the model says {} for keys and values, which is edgeq's own and not in this file",
                      kv_scheme_text(model.kv()))};
}

}  // namespace edgeq
