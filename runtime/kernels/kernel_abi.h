// SPDX-License-Identifier: Apache-2.0
// The plain structs between the runtime and its kernels: all that an ISA file may include besides its
// intrinsics header. No std:: type and no inline function lives here, so that nothing compiled for a newer
// CPU can be merged into common code. Weights lie in layout r16k4 (formats/panels.h).
#pragma once

#include <stdint.h>

namespace edgeq {

// How a quantized weight's panels are laid out. Byte offsets are from the start of a panel.
struct KernelWeight {
  const unsigned char* panels;
  int64_t panel_bytes;
  int64_t scales, zeros, offsets;  // regions; codes begin at 0. zeros / offsets are -1 when absent
  int64_t cols, blocks;            // blocks of 32 columns, the last one padded
  int64_t group_blocks;            // blocks that share a scale
  int32_t bits;                    // 2..8
  int32_t mid;                     // zero point of symmetric schemes, else 0
  int32_t scale_bytes;             // 2: f16, 4: f32
};

// Activations of one or more tokens, quantized to int8 per block of 32 columns: x ~ scale * code, padded with
// zeros.
struct KernelInput {
  const int8_t* codes;  // [tokens, blocks * 32]
  const float* scales;  // [tokens, blocks]
  const int32_t* sums;  // [tokens, blocks]: sum of a block's codes
  int64_t tokens;
};

// y[t * y_stride + row] for rows of panels [panel_begin, panel_end), all 16 rows of each panel. Per row and
// token, blocks in ascending order: y = fma(float(dot - zero * sum), x_scale * w_scale, y), from 0; with an
// offset also fma(float(sum) * x_scale, offset, y). dot and dot - zero * sum are exact in int32.
using MatmulKernel = void (*)(const KernelWeight&, const KernelInput&, float* y, int64_t y_stride,
                              int64_t panel_begin, int64_t panel_end);

// Float weights in float panels, float activations x[t * x_stride + col]. Per row: acc = fma(w, x, acc),
// columns ascending.
struct KernelFloatWeight {
  const unsigned char* panels;
  int64_t panel_bytes, cols;
  int32_t element;  // 0: f32, 1: f16, 2: bf16
};
using FloatMatmulKernel = void (*)(const KernelFloatWeight&, const float* x, int64_t x_stride, int64_t tokens,
                                   float* y, int64_t y_stride, int64_t panel_begin, int64_t panel_end);

// Quantizes one row of n floats to int8 per 32: scale = max|x| / 127 (0 for an all-zero block), code = round
// to nearest even of x / scale computed as x * (127 / max|x|). n is a multiple of 32 (the caller pads with
// zeros).
using QuantizeRowKernel = void (*)(const float* x, int64_t n, int8_t* codes, float* scales, int32_t* sums);

struct KernelTable {
  const char* isa;
  uint32_t required_features;  // CpuFeature flags (cpu_features.h)
  MatmulKernel matmul;
  FloatMatmulKernel float_matmul;
  QuantizeRowKernel quantize_row;
};

}  // namespace edgeq
