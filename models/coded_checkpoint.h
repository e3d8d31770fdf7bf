// SPDX-License-Identifier: Apache-2.0
// Codes seen as a float checkpoint: what an engine runs to prove that a written file is the same function.
#pragma once

#include <memory>

#include "models/coded_model.h"

namespace edgeq {

std::unique_ptr<Checkpoint> as_checkpoint(std::shared_ptr<const CodedModel> model);

}  // namespace edgeq
