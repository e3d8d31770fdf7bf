// SPDX-License-Identifier: Apache-2.0
// A checkpoint as a BlockwiseModel that can be read and not walked: enough where nothing is calibrated,
// without a float engine.
#pragma once

#include <memory>

#include "models/blockwise_model.h"
#include "models/import.h"

namespace edgeq {

std::unique_ptr<BlockwiseModel> open_checkpoint_blocks(std::shared_ptr<const Checkpoint> checkpoint);

}  // namespace edgeq
