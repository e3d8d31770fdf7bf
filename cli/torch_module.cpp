// SPDX-License-Identifier: Apache-2.0
#include "cli/torch_module.h"

#include "models/torch/torch_model.h"

extern "C" const edgeq::TorchModule* edgeq_torch_module() {
  static constexpr edgeq::TorchModule kModule{EDGEQ_VERSION,
                                              EDGEQ_LIBTORCH_VERSION,
                                              &edgeq::open_torch_blockwise,
                                              &edgeq::open_torch_model,
                                              &edgeq::open_torch_backward,
                                              &edgeq::train,
                                              &edgeq::teach};
  return &kModule;
}
