// SPDX-License-Identifier: Apache-2.0
// A quantized weight in panels, as the kernels are told of it.
#pragma once

#include <cstddef>

#include "core/quant_scheme.h"
#include "runtime/kernels/kernel_abi.h"

namespace edgeq {

// `panels` are those of panel_shape(scheme, rows, cols). Throws Error for a scheme that no kernel runs
// (formats/panels.h, require_kernels).
KernelWeight kernel_weight(const QuantScheme& scheme, int64_t rows, int64_t cols, const std::byte* panels);

}  // namespace edgeq
