// SPDX-License-Identifier: Apache-2.0
// The float engine on LibTorch, in f32: the reference that compressed models are held against. No LibTorch
// type appears here. Opening a model sets LibTorch and OpenBLAS to one thread each for the whole process:
// parallel work goes through parallel_for, over windows or over slices of one product, so results do not
// depend on the number of threads.
#pragma once

#include <memory>

#include "models/blockwise_model.h"
#include "models/gradients.h"
#include "models/import.h"
#include "models/language_model.h"

namespace edgeq {

// The walk that calibration and the main loop take. Holds no weights.
std::unique_ptr<BlockwiseModel> open_torch_blockwise(std::shared_ptr<const Checkpoint> checkpoint);

// The whole model, its weights in memory. A packed file is opened through open_packed_checkpoint: the same
// engine over dequantized codes.
std::unique_ptr<LanguageModel> open_torch_model(const Checkpoint& checkpoint);

// The way back through the model, for what needs gradients. Holds no weights.
std::unique_ptr<BackwardModel> open_torch_backward(const ModelConfig& config);

}  // namespace edgeq
