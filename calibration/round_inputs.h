// SPDX-License-Identifier: Apache-2.0
// Inputs as integer kernels see them: what is calibrated on them makes up for their rounding too.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/tensor.h"

namespace edgeq {

// What calibration takes for the inputs of layers that are quantized.
enum class Inputs : uint8_t {
  floats,      // as they are
  int8_block,  // rounded to 8 bits with a scale per 32 values of a token
  int8_token,  // with one scale per token
};

// "float", "int8_block" or "int8_token". Throws Error for anything else.
Inputs parse_inputs(std::string_view text);
std::string_view inputs_text(Inputs inputs);

// Each group of a row (32 columns, or the row) becomes scale * code: scale = max|x| / 127 and
// code = x * (127 / max|x|) rounded to nearest even; 0 below 2^-100. The same bits as QuantizeRowKernel
// (runtime/kernels/kernel_abi.h), whose products of codes mean these numbers. A group with a value that is
// not finite stays: statistics name it.
void round_inputs(MatrixView<float> rows, Inputs inputs);

}  // namespace edgeq
