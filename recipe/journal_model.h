// SPDX-License-Identifier: Apache-2.0
// A complete journal as a model: what was just quantized goes to its target without a file in between.
#pragma once

#include <memory>
#include <string>

#include "models/coded_model.h"
#include "recipe/journal.h"
#include "recipe/plan.h"

namespace edgeq {

// Plan and journal outlive it. One part is held in memory at a time.
std::unique_ptr<CodedModel> journal_model(const Plan& plan, const Journal& journal,
                                          const Tokenizer& tokenizer, std::string provenance_json);

}  // namespace edgeq
