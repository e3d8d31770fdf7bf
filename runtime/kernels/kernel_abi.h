// SPDX-License-Identifier: Apache-2.0
// The plain structs between the runtime and its kernels: all that an ISA file may include besides its
// intrinsics header. No std:: type and no inline function lives here, so that nothing compiled for a newer
// CPU can be merged into common code. Weights lie in layout r16k4 (formats/panels.h).
//
// Every operation below is defined down to its order of roundings, so that all instruction sets give the same
// bits, and a row or token gives the same bits however many others it is computed with.
#pragma once

#include <stdint.h>

namespace edgeq {

// How a quantized weight's panels are laid out. Byte offsets are from the start of a panel.
struct KernelWeight {
  const unsigned char* panels;
  int64_t panel_bytes;
  int64_t scales, zeros, offsets;       // regions; codes begin at 0. zeros / offsets are -1 when absent
  int64_t outer_scales, outer_offsets;  // regions of f32, read when scale_bytes is 1
  int64_t cols, blocks;                 // blocks of 32 columns, the last one padded
  int64_t group_blocks;                 // blocks that share a scale
  int32_t bits;                         // 2..8
  int32_t mid;                          // zero point of symmetric schemes, else 0
  int32_t scale_bytes;                  // 2: f16, 4: f32, 1: an int8 code times an outer scale
  int32_t outer_shift;                  // group g has outer scale g >> outer_shift
  const signed char* levels;            // 16 levels of a table (then bits is 4 and mid 128), or null
};
// Below, "code" is a code of the weight or, where there is a table, its level + 128; a scale that is stored
// as a code is float(code) * outer_scale, and such an offset is -(float(code) * outer_offset).

// Activations of one or more tokens, quantized to int8 per block of 32 columns: x ~ scale * code, padded with
// zeros. Codes lie in [-127, 127].
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
// columns ascending, from 0. Serves attention as well: keys in panels of 16 positions (cols = head size), and
// values in panels of 16 dimensions (cols = positions so far, panel_bytes = room for all).
struct KernelFloatWeight {
  const unsigned char* panels;
  int64_t panel_bytes, cols;
  int32_t element;  // 0: f32, 1: f16, 2: bf16
};
using FloatMatmulKernel = void (*)(const KernelFloatWeight&, const float* x, int64_t x_stride, int64_t tokens,
                                   float* y, int64_t y_stride, int64_t panel_begin, int64_t panel_end);

// Quantized weights as float weights, for activations that stay float: panel `panel` becomes an f32 float
// panel of cols columns, out[col * 16 + row] = scale * float(code - zero), then + offset where there is one.
using DecodePanelKernel = void (*)(const KernelWeight&, int64_t panel, float* out);

// A panel of codes whose columns, not rows, have scales, as the KV cache has them (runtime/kv_panels.h).
struct KernelColumns {
  const unsigned char* codes;    // 8 bits: byte c * 16 + row; 4 bits: byte c / 2 * 16 + row, even columns low
  const unsigned char* scales;   // f16 [cols]
  const unsigned char* offsets;  // f16 [cols]
  int64_t cols;                  // a multiple of 16
  int32_t bits;                  // 8 or 4
};

// out[c * 16 + row] = fma(scale, float(code), offset).
using DecodeColumnsKernel = void (*)(const KernelColumns&, float* out);

// Quantizes one row of n floats to int8, one scale per `group` columns (32, or n for one scale per token);
// scales and sums are written for every 32 columns. scale = max|x| / 127, code = x * (127 / max|x|) rounded
// to nearest even. A group with max|x| below 2^-100 becomes all zero; one with an infinity or NaN gets codes
// 0 and a NaN scale, so that it shows in every output. n is a multiple of group (the caller pads with zeros),
// group of 32.
using QuantizeRowKernel = void (*)(const float* x, int64_t n, int64_t group, int8_t* codes, float* scales,
                                   int32_t* sums);

// Sums over n elements below run in 16 lanes: lane l takes elements l, l + 16, ... in turn; then lanes are
// added as (l, l + 8), (l, l + 4), (l, l + 2), (l, l + 1).

// out[i] = (x[i] * r) * gain[i] with r = 1 / sqrt(sum / n + epsilon), sum by lane = fma(x, x, lane). out may
// be x.
using RmsNormKernel = void (*)(const float* x, const float* gain, int64_t n, float epsilon, float* out);

// out[i] = fma(d[i] * r, gain[i], bias[i]) with d[i] = x[i] - m, m = sum / n, sum by lane = lane + x, and
// r = 1 / sqrt(squares / n + epsilon), squares by lane = fma(d, d, lane). out may be x.
using LayerNormKernel = void (*)(const float* x, const float* gain, const float* bias, int64_t n,
                                 float epsilon, float* out);

// exp(x) as all kernels compute it, within 2 units in the last place of the true value, x clamped to
// [-87, 88]: k = rint(x * log2 e), r = fma(k, -ln2_low, fma(k, -ln2_high, x)), p the polynomial
// kExpCoefficients in r by Horner's rule with fma, and the result p * 2^k.
constexpr float kExpLog2e = 0x1.715476p+0f, kExpLn2High = 0x1.62e4p-1f, kExpLn2Low = 0x1.7f7d1cp-20f;
constexpr float kExpLow = -87.0f, kExpHigh = 88.0f;
constexpr float kExpCoefficients[7] = {1.0f,           1.0f,          0x1.fffffcp-2f, 0x1.555492p-3f,
                                       0x1.5558f2p-5f, 0x1.123a2p-7f, 0x1.6a23dp-10f};

// out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]. out may be gate or up.
using SiluMulKernel = void (*)(const float* gate, const float* up, int64_t n, float* out);

// gelu in place, by the tanh approximation: x[i] = x / (1 + exp(x * fma(x * x, kGeluCubic, kGeluLinear))).
constexpr float kGeluLinear = -0x1.988454p+0f, kGeluCubic = -0x1.2444f2p-4f;  // -2 sqrt(2 / pi) (1, 0.044715)
using GeluTanhKernel = void (*)(float* x, int64_t n);

// gelu in place, with the error function (Abramowitz and Stegun 7.1.26, within 1.5e-7): z = |x| * kSqrtHalf,
// t = 1 / fma(z, kErfScale, 1), q = (t * p) * exp(-(z * z)) with p the polynomial kErfCoefficients in t by
// Horner's rule with fma, which hold erfc / 2; x[i] = x < 0 ? x * q : x - x * q.
constexpr float kSqrtHalf = 0x1.6a09e6p-1f, kErfScale = 0x1.4f740ap-2f;
constexpr float kErfCoefficients[5] = {0x1.04f20cp-3f, -0x1.23531cp-3f, 0x1.6be1c6p-1f, -0x1.7401c6p-1f,
                                       0x1.0fb844p-1f};
using GeluErfKernel = void (*)(float* x, int64_t n);

// In place, x[i] = cap * tanh(y) with the sign of y = x * factor. v = |y|; up to kTanhSmall
// tanh = fma(v * (v * v), p, v), p the polynomial kTanhCoefficients in v * v by Horner's rule with fma;
// above, e = exp(-2 v) and tanh = (1 - e) / (1 + e).
constexpr float kTanhSmall = 0.625f;
constexpr float kTanhCoefficients[5] = {-0x1.555532p-2f, 0x1.110726p-3f, -0x1.b83c5ap-5f, 0x1.522696p-6f,
                                        -0x1.75e1b8p-8f};
using SoftCapKernel = void (*)(float* x, int64_t n, float factor, float cap);

// In place: e = exp((x[i] - max) * scale), x[i] = e * (1 / sum of e). scale > 0, n > 0.
using SoftmaxKernel = void (*)(float* x, int64_t n, float scale);

// Rotates pairs (a, b) = (x[i], x[i + half]) in place: a' = fma(a, cosine[i], -(b * sine[i])),
// b' = fma(b, cosine[i], a * sine[i]).
using RopeKernel = void (*)(float* x, const float* cosine, const float* sine, int64_t half);

// Multiplies int8 codes on registers alone, `loops` times what the instruction set does at once, as fast as
// it can: the ceiling of the matmuls. Returns how many multiply-adds that were.
using Int8PeakKernel = int64_t (*)(int64_t loops);

// What a table needs of the CPU; cpu_features.h says what there is.
enum CpuFeature : uint32_t {
  kAvx2 = 1u << 0,        // with FMA and F16C
  kAvx512Vnni = 1u << 1,  // with F, BW, DQ and VL
  kNeonDot = 1u << 2,     // AArch64 dot product
  kAmxInt8 = 1u << 3,     // tiles, and the system lets this process use them
};

// What amx leaves null is avx512vnni's (dispatch.cpp).
struct KernelTable {
  const char* isa;
  uint32_t required_features;  // CpuFeature flags
  MatmulKernel matmul;
  FloatMatmulKernel float_matmul;
  DecodePanelKernel decode_panel;
  DecodeColumnsKernel decode_columns;
  QuantizeRowKernel quantize_row;
  RmsNormKernel rms_norm;
  LayerNormKernel layer_norm;
  SiluMulKernel silu_mul;
  GeluTanhKernel gelu_tanh;
  GeluErfKernel gelu_erf;
  SoftCapKernel soft_cap;
  SoftmaxKernel softmax;
  RopeKernel rope;
  Int8PeakKernel int8_peak;
};

}  // namespace edgeq
