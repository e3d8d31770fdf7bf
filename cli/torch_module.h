// SPDX-License-Identifier: Apache-2.0
// The float engine as a module that is loaded by the commands that need it: linking LibTorch would cost every
// `edgeq --help` most of a second and 160 MB. The module is built together with the executable and shares its
// core: edgeq's symbols are exported by the executable (cmake/exports.list) and the module's own copies bind
// to them, so there is one thread count and one interrupt flag, and exceptions cross.
#pragma once

#include <memory>

#include "distill/trainer.h"
#include "models/blockwise_model.h"
#include "models/gradients.h"
#include "models/import.h"
#include "models/language_model.h"

namespace edgeq {

struct TorchModule {
  const char* version;   // of edgeq; must equal the executable's
  const char* libtorch;  // version of LibTorch, for reports
  std::unique_ptr<BlockwiseModel> (*open_blockwise)(std::shared_ptr<const Checkpoint>);
  std::unique_ptr<LanguageModel> (*open_model)(const Checkpoint&);
  std::unique_ptr<BackwardModel> (*open_backward)(const ModelConfig&);
  TrainReport (*train)(const TrainInputs&, const Progress&);
  void (*teach)(const TeachInputs&, const Progress&);
};

inline constexpr const char* kTorchModuleFile = "libedgeq_torch.so";
inline constexpr const char* kTorchModuleEntry = "edgeq_torch_module";  // TorchModuleEntry
using TorchModuleEntry = const TorchModule*();

}  // namespace edgeq
