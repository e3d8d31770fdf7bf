// SPDX-License-Identifier: Apache-2.0
// The tensors of a quantized Hugging Face folder with each layer that holds codes seen as one tensor
// "<module>.weight" of Encoding::coded, in place of its parts.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "formats/container.h"
#include "models/quantization_config.h"

namespace edgeq {

// Every layer is checked but for its codes, which may be anything. Throws Error naming the tensor: a part
// that is missing or has another shape than the rest, a scale that is not finite, a layer that the config
// leaves out. `looked_at` is told of each layer that was checked: whoever maps the folder's files lets its
// pages go, or opening a large model would keep the scales of all layers in memory.
using LookedAt = std::function<void(const StoredCodes& layer)>;
std::unique_ptr<TensorReader> open_coded_folder(std::unique_ptr<TensorReader> folder,
                                                const QuantizationConfig& config,
                                                const LookedAt& looked_at = {});

}  // namespace edgeq
