// SPDX-License-Identifier: Apache-2.0
// Inputs as integer kernels see them: what is calibrated on them makes up for their rounding too.
#pragma once

#include "core/tensor.h"
#include "models/activations.h"

namespace edgeq {

// Each group of a row (32 columns, or the row) becomes scale * code: scale = max|x| / 127 and
// code = x * (127 / max|x|) rounded to nearest even; 0 below 2^-100. The same bits as QuantizeRowKernel
// (runtime/kernels/kernel_abi.h), whose products of codes mean these numbers. A group with a value that is
// not finite stays: statistics name it. f32 leaves everything as it is; int8_static is the next function.
void round_inputs(MatrixView<float> rows, Activations activations);

// Every value becomes scale * code with code = x * (1 / scale) rounded to nearest even, within [-127, 127].
void round_inputs(MatrixView<float> rows, float scale);

}  // namespace edgeq
