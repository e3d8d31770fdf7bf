// SPDX-License-Identifier: Apache-2.0
// Chooses an engine for a model: the packed runtime, or the LibTorch float engine, which is a module that
// only the commands that need it load.
#pragma once

#include <memory>
#include <string>

#include "cli/open_model.h"
#include "core/progress.h"
#include "distill/trainer.h"
#include "models/blockwise_model.h"
#include "models/gradients.h"

namespace edgeq {

enum class Engine : uint8_t {
  automatic,  // packed files: runtime; checkpoints: LibTorch where it was built, else runtime
  runtime,
  torch,
};

Engine parse_engine(const std::string& name);  // "auto", "runtime", "torch"

// Throws Error when the path is no model, or the engine cannot open it.
OpenModel open_model(const std::string& path, Engine engine, const RuntimeOptions& options);

// A float model that can be walked. LibTorch.
std::unique_ptr<BlockwiseModel> open_blockwise(const std::shared_ptr<const Checkpoint>& checkpoint);
// Its way back. LibTorch.
std::unique_ptr<BackwardModel> open_backward(const ModelConfig& config);
// The training loop (distill/trainer.h). LibTorch.
TrainReport train_on_torch(const TrainInputs& in, const Progress& progress);
void teach_on_torch(const TeachInputs& in, const Progress& progress);

}  // namespace edgeq
