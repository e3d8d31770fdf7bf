// SPDX-License-Identifier: Apache-2.0
// A packed model seen as a checkpoint: its weights dequantized. Through it a float engine runs the same codes
// that the packed runtime runs, which is how the two are compared.
#pragma once

#include <memory>

#include "models/import.h"
#include "models/packed_model.h"

namespace edgeq {

std::unique_ptr<Checkpoint> open_packed_checkpoint(PackedModel model);

}  // namespace edgeq
