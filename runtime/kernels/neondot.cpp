// SPDX-License-Identifier: Apache-2.0
// AArch64 with the dot-product extension: 16 rows by 4 columns are four vectors, "quarters" of 4 rows, and
// sdot with a lane of activations multiplies one in one instruction. sdot takes signed codes: up to 7 bits
// are that as they are (at most 127), 8 bits have 128 taken off, and so have the levels of a table, which are
// signed.
#include <arm_neon.h>

#include "runtime/kernels/kernel_abi.h"

namespace edgeq::isa::neondot {
namespace {

constexpr int64_t kTile = 4;  // tokens whose sums are held in registers
constexpr int64_t kInputBytes =
    16384;  // activations that one pass over the panels takes: half a level-1 cache
constexpr int64_t kPrefetchBytes = 1024;  // how far ahead of the codes in use

// How codes lie: 2..8 bits, or kTable: 4 bits that look up a level.
constexpr int kTable = 9;
constexpr int bits_of(int format) { return format == kTable ? 4 : format; }
inline int format_of(const KernelWeight& w) { return w.levels == nullptr ? w.bits : kTable; }

// scale, offset and zero point of one group of 4 rows of a panel.
struct Group {
  float32x4_t scale, offset;  // no offset: -0, which added changes nothing
  int32x4_t zero;
};

inline float32x4_t load_scales(const unsigned char* p, int32_t scale_bytes) {
  if (scale_bytes == 4) return vreinterpretq_f32_u8(vld1q_u8(p));
  return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

// The 4 codes at `codes` times the outer scales at `outer`.
inline float32x4_t coded_scales(const unsigned char* codes, const unsigned char* outer) {
  float values[4];
  for (int r = 0; r < 4; ++r) values[r] = static_cast<float>(static_cast<signed char>(codes[r]));
  return vmulq_f32(vld1q_f32(values), vreinterpretq_f32_u8(vld1q_u8(outer)));
}

// `bias` is what decode_step has taken off the codes.
inline Group load_group(const KernelWeight& w, const unsigned char* panel, int64_t group, int quarter,
                        int bias) {
  Group g;
  g.offset = vdupq_n_f32(-0.0f);
  const int64_t first = group * 16 + quarter * 4, at = first * w.scale_bytes;
  if (w.scale_bytes == 1) {
    const int64_t outer = (group >> w.outer_shift) * 64 + quarter * 16;
    g.scale = coded_scales(panel + w.scales + at, panel + w.outer_scales + outer);
    if (w.offsets >= 0)
      g.offset = vnegq_f32(coded_scales(panel + w.offsets + at, panel + w.outer_offsets + outer));
  } else {
    g.scale = load_scales(panel + w.scales + at, w.scale_bytes);
    if (w.offsets >= 0) g.offset = load_scales(panel + w.offsets + at, w.scale_bytes);
  }
  if (w.zeros < 0) {
    g.zero = vdupq_n_s32(w.mid - bias);
  } else {
    int32_t zeros[4];
    for (int r = 0; r < 4; ++r) zeros[r] = panel[w.zeros + first + r] - bias;
    g.zero = vld1q_s32(zeros);
  }
  return g;
}

// The bits of columns 4 * step ... 4 * step + 3 that lie in the plane of kPlane bits at `codes`, at bit
// kShift.
template <int kPlane, int kShift>
inline uint8x16_t decode_plane(const unsigned char* codes, int step) {
  const uint8x16_t raw = vld1q_u8(codes + step % kPlane * 64);
  const int8x16_t shift =
      vdupq_n_s8(static_cast<int8_t>(kShift - step / kPlane * kPlane));  // right if negative
  return vandq_u8(vshlq_u8(raw, shift), vdupq_n_u8(((1 << kPlane) - 1) << kShift));
}

inline int8x16_t load_table(const KernelWeight& w) {
  return w.levels == nullptr ? vdupq_n_s8(0) : vld1q_s8(w.levels);
}

// Codes of 4 rows x 4 columns as signed bytes with kBias<kFormat> taken off.
template <int kFormat>
constexpr int kBias = kFormat == 8 || kFormat == kTable ? 128 : 0;

template <int kFormat>
inline int8x16_t decode_step(const unsigned char* block, int8x16_t table, int step) {
  constexpr int kBits = bits_of(kFormat);
  if constexpr (kBits == 8)
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(block + step * 64), vdupq_n_u8(0x80)));
  uint8x16_t codes = vdupq_n_u8(0);
  if constexpr ((kBits & 4) != 0) codes = decode_plane<4, 0>(block, step);
  if constexpr ((kBits & 2) != 0)
    codes = vorrq_u8(codes, decode_plane<2, kBits & 4>(block + (kBits & 4) * 64, step));
  if constexpr ((kBits & 1) != 0)
    codes = vorrq_u8(codes, decode_plane<1, kBits & 6>(block + (kBits & 6) * 64, step));
  if constexpr (kFormat == kTable) return vqtbl1q_s8(table, codes);
  return vreinterpretq_s8_u8(codes);
}

// dot[t] += codes of 4 rows times the activations of token t, over the 4 steps from kFirst on: the lane of
// activations must be a constant.
template <int kFormat, int kTokens, int kFirst>
inline void multiply_half(const unsigned char* block, int8x16_t table, const int8_t* x, int64_t x_stride,
                          int32x4_t dot[kTokens]) {
  const int8x16_t w0 = decode_step<kFormat>(block, table, kFirst),
                  w1 = decode_step<kFormat>(block, table, kFirst + 1);
  const int8x16_t w2 = decode_step<kFormat>(block, table, kFirst + 2),
                  w3 = decode_step<kFormat>(block, table, kFirst + 3);
  for (int t = 0; t < kTokens; ++t) {
    const int8x16_t values = vld1q_s8(x + t * x_stride + kFirst * 4);
    dot[t] = vdotq_laneq_s32(dot[t], w0, values, 0);
    dot[t] = vdotq_laneq_s32(dot[t], w1, values, 1);
    dot[t] = vdotq_laneq_s32(dot[t], w2, values, 2);
    dot[t] = vdotq_laneq_s32(dot[t], w3, values, 3);
  }
}

// kQuarters quarters of one panel, from `quarter` on, times kTokens tokens from `token` on.
template <int kFormat, int kTokens, int kQuarters>
inline void multiply_quarters(const KernelWeight& w, const KernelInput& x, int64_t token,
                              const unsigned char* panel, int quarter, float* y, int64_t y_stride) {
  constexpr int kBits = bits_of(kFormat);
  const int8x16_t table = load_table(w);
  const int8_t* codes = x.codes + token * w.blocks * 32;
  const float* scales = x.scales + token * w.blocks;
  const int32_t* sums = x.sums + token * w.blocks;
  float32x4_t sum[kQuarters][kTokens];
  for (auto& row : sum)
    for (auto& s : row) s = vdupq_n_f32(0);
  for (int64_t b = 0, g = 0; b < w.blocks; ++g) {
    Group group[kQuarters];
    for (int q = 0; q < kQuarters; ++q) group[q] = load_group(w, panel, g, quarter + q, kBias<kFormat>);
    const int64_t end = b + w.group_blocks < w.blocks ? b + w.group_blocks : w.blocks;
    for (; b < end; ++b) {
      const unsigned char* block = panel + b * 64 * kBits;
      for (int line = 0; line < kBits; ++line) __builtin_prefetch(block + kPrefetchBytes + 64 * line);
      for (int q = 0; q < kQuarters; ++q) {
        int32x4_t dot[kTokens];
        for (int t = 0; t < kTokens; ++t)
          dot[t] = vmulq_s32(group[q].zero, vdupq_n_s32(-sums[t * w.blocks + b]));
        const unsigned char* rows = block + (quarter + q) * 16;
        multiply_half<kFormat, kTokens, 0>(rows, table, codes + b * 32, w.blocks * 32, dot);
        multiply_half<kFormat, kTokens, 4>(rows, table, codes + b * 32, w.blocks * 32, dot);
        for (int t = 0; t < kTokens; ++t) {
          const float x_scale = scales[t * w.blocks + b];
          sum[q][t] = vfmaq_f32(sum[q][t], vcvtq_f32_s32(dot[t]), vmulq_n_f32(group[q].scale, x_scale));
          if (w.offsets < 0) continue;
          const float x_sum = static_cast<float>(sums[t * w.blocks + b]) * x_scale;
          sum[q][t] = vfmaq_n_f32(sum[q][t], group[q].offset, x_sum);
        }
      }
    }
  }
  for (int q = 0; q < kQuarters; ++q)
    for (int t = 0; t < kTokens; ++t) vst1q_f32(y + t * y_stride + (quarter + q) * 4, sum[q][t]);
}

// 32 registers hold the float and integer sums of all quarters of 2 tokens, or of two quarters of 4.
template <int kFormat, int kTokens>
void multiply_panel(const KernelWeight& w, const KernelInput& x, int64_t token, const unsigned char* panel,
                    float* y, int64_t y_stride) {
  if constexpr (kTokens <= 2) {
    multiply_quarters<kFormat, kTokens, 4>(w, x, token, panel, 0, y, y_stride);
  } else {
    multiply_quarters<kFormat, kTokens, 2>(w, x, token, panel, 0, y, y_stride);
    multiply_quarters<kFormat, kTokens, 2>(w, x, token, panel, 2, y, y_stride);
  }
}

using MultiplyPanel = void (*)(const KernelWeight&, const KernelInput&, int64_t, const unsigned char*, float*,
                               int64_t);
template <int kFormat>
constexpr MultiplyPanel kOfTokens[kTile + 1] = {nullptr, multiply_panel<kFormat, 1>,
                                                multiply_panel<kFormat, 2>, multiply_panel<kFormat, 3>,
                                                multiply_panel<kFormat, 4>};
constexpr const MultiplyPanel* kMultiplyPanel[10] = {
    nullptr,      nullptr,      kOfTokens<2>, kOfTokens<3>, kOfTokens<4>,
    kOfTokens<5>, kOfTokens<6>, kOfTokens<7>, kOfTokens<8>, kOfTokens<kTable>};

void matmul(const KernelWeight& w, const KernelInput& x, float* y, int64_t y_stride, int64_t panel_begin,
            int64_t panel_end) {
  const MultiplyPanel* multiply = kMultiplyPanel[format_of(w)];
  const int64_t fitting = kInputBytes / (w.blocks * 32) / kTile * kTile;
  const int64_t step = fitting < kTile ? kTile : fitting;
  for (int64_t first = 0; first < x.tokens; first += step) {
    const int64_t end = x.tokens - first < step ? x.tokens : first + step;
    for (int64_t p = panel_begin; p < panel_end; ++p)
      for (int64_t t = first; t < end; t += kTile) {
        const int64_t tokens = end - t < kTile ? end - t : kTile;
        multiply[tokens](w, x, t, w.panels + p * w.panel_bytes, y + t * y_stride + p * 16, y_stride);
      }
  }
}

// ---- float weights ----

template <int kElement>
inline float32x4_t load_column(const unsigned char* panel, int64_t column, int quarter) {
  const int64_t first = column * 16 + quarter * 4;
  if constexpr (kElement == 0) return vreinterpretq_f32_u8(vld1q_u8(panel + first * 4));
  const uint8x8_t raw = vld1_u8(panel + first * 2);
  if constexpr (kElement == 1) return vcvt_f32_f16(vreinterpret_f16_u8(raw));
  return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(raw), 16));
}

// One panel times kTokens tokens; every sum is a chain of its own, so that the multiply-adds overlap.
template <int kElement, int kTokens>
void float_tile(const KernelFloatWeight& w, const float* x, int64_t x_stride, float* y, int64_t y_stride,
                int64_t panel_index) {
  const unsigned char* panel = w.panels + panel_index * w.panel_bytes;
  float32x4_t sum[kTokens][4];
  for (auto& row : sum)
    for (auto& s : row) s = vdupq_n_f32(0);
  for (int64_t c = 0; c < w.cols; ++c) {
    float32x4_t weights[4];
    for (int q = 0; q < 4; ++q) weights[q] = load_column<kElement>(panel, c, q);
    for (int t = 0; t < kTokens; ++t)
      for (int q = 0; q < 4; ++q) sum[t][q] = vfmaq_n_f32(sum[t][q], weights[q], x[t * x_stride + c]);
  }
  for (int t = 0; t < kTokens; ++t)
    for (int q = 0; q < 4; ++q) vst1q_f32(y + t * y_stride + panel_index * 16 + q * 4, sum[t][q]);
}

template <int kElement>
void float_panels(const KernelFloatWeight& w, const float* x, int64_t x_stride, int64_t tokens, float* y,
                  int64_t y_stride, int64_t panel_begin, int64_t panel_end) {
  int64_t t = 0;
  for (; t + 4 <= tokens; t += 4)
    for (int64_t p = panel_begin; p < panel_end; ++p)
      float_tile<kElement, 4>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, p);
  for (; t < tokens; ++t)
    for (int64_t p = panel_begin; p < panel_end; ++p)
      float_tile<kElement, 1>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, p);
}

void float_matmul(const KernelFloatWeight& w, const float* x, int64_t x_stride, int64_t tokens, float* y,
                  int64_t y_stride, int64_t panel_begin, int64_t panel_end) {
  if (w.element == 0) float_panels<0>(w, x, x_stride, tokens, y, y_stride, panel_begin, panel_end);
  if (w.element == 1) float_panels<1>(w, x, x_stride, tokens, y, y_stride, panel_begin, panel_end);
  if (w.element == 2) float_panels<2>(w, x, x_stride, tokens, y, y_stride, panel_begin, panel_end);
}

template <int kFormat>
void decode_panel_of(const KernelWeight& w, const unsigned char* panel, float* out) {
  constexpr int kBits = bits_of(kFormat);
  const int8x16_t table = load_table(w);
  for (int64_t b = 0; b < w.blocks; ++b)
    for (int q = 0; q < 4; ++q) {
      const Group group = load_group(w, panel, b / w.group_blocks, q, kBias<kFormat>);
      for (int step = 0; step < 8; ++step) {
        // 4 columns share a lane, the first in the low byte: shift left, then arithmetically right.
        int32x4_t codes =
            vreinterpretq_s32_s8(decode_step<kFormat>(panel + b * 64 * kBits + q * 16, table, step));
        for (int64_t c = b * 32 + step * 4; c < b * 32 + step * 4 + 4 && c < w.cols; ++c) {
          const int32x4_t code = vshrq_n_s32(vshlq_n_s32(codes, 24), 24);
          codes = vshrq_n_s32(codes, 8);
          const float32x4_t level = vcvtq_f32_s32(vsubq_s32(code, group.zero));
          vst1q_f32(out + c * 16 + q * 4, vaddq_f32(vmulq_f32(group.scale, level), group.offset));
        }
      }
    }
}

using DecodePanel = void (*)(const KernelWeight&, const unsigned char*, float*);
constexpr DecodePanel kDecodePanel[10] = {nullptr,
                                          nullptr,
                                          decode_panel_of<2>,
                                          decode_panel_of<3>,
                                          decode_panel_of<4>,
                                          decode_panel_of<5>,
                                          decode_panel_of<6>,
                                          decode_panel_of<7>,
                                          decode_panel_of<8>,
                                          decode_panel_of<kTable>};

void decode_panel(const KernelWeight& w, int64_t panel, float* out) {
  kDecodePanel[format_of(w)](w, w.panels + panel * w.panel_bytes, out);
}

// 16 codes as bytes times the scale of their column, plus its offset.
inline void decode_column(uint8x16_t codes, float scale, float offset, float* out) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(codes)), high = vmovl_u8(vget_high_u8(codes));
  const uint32x4_t quarters[4] = {vmovl_u16(vget_low_u16(low)), vmovl_u16(vget_high_u16(low)),
                                  vmovl_u16(vget_low_u16(high)), vmovl_u16(vget_high_u16(high))};
  for (int q = 0; q < 4; ++q)
    vst1q_f32(out + q * 4, vfmaq_n_f32(vdupq_n_f32(offset), vcvtq_f32_u32(quarters[q]), scale));
}

void decode_columns(const KernelColumns& k, float* out) {
  for (int64_t first = 0; first < k.cols; first += 4) {
    float scales[4], offsets[4];
    vst1q_f32(scales, load_scales(k.scales + first * 2, 2));
    vst1q_f32(offsets, load_scales(k.offsets + first * 2, 2));
    for (int c = 0; c < 4; c += 2) {
      const unsigned char* at = k.codes + (first + c) * 2 * k.bits;
      const uint8x16_t codes = vld1q_u8(at);
      const uint8x16_t even = k.bits == 8 ? codes : vandq_u8(codes, vdupq_n_u8(15));
      const uint8x16_t odd = k.bits == 8 ? vld1q_u8(at + 16) : vshrq_n_u8(codes, 4);
      decode_column(even, scales[c], offsets[c], out + (first + c) * 16);
      decode_column(odd, scales[c + 1], offsets[c + 1], out + (first + c + 1) * 16);
    }
  }
}

// ---- activations and element-wise operations ----

void quantize_row(const float* x, int64_t n, int64_t group, int8_t* codes, float* scales, int32_t* sums) {
  for (int64_t g = 0; g < n; g += group) {
    uint32x4_t max = vdupq_n_u32(0);
    for (int64_t i = g; i < g + group; i += 4)
      max = vmaxq_u32(max, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7fffffff)));
    const uint32_t max_bits = vmaxvq_u32(max);
    const bool finite = max_bits < 0x7f800000u;
    const bool usable = finite && max_bits >= 0x0d800000u;  // 2^-100
    float max_value;
    __builtin_memcpy(&max_value, &max_bits, 4);
    const float scale = usable ? max_value / 127.0f : finite ? 0.0f : __builtin_nanf("");
    const float inverse = usable ? 127.0f / max_value : 0.0f;
    const int32x4_t lanes = vdupq_n_s32(usable ? -1 : 0);
    for (int64_t i = g; i < g + group; i += 32) {
      int32x4_t total = vdupq_n_s32(0);
      for (int64_t j = i; j < i + 32; j += 8) {
        const int32x4_t low = vandq_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + j), inverse)), lanes);
        const int32x4_t high = vandq_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + j + 4), inverse)), lanes);
        vst1_s8(codes + j, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
        total = vaddq_s32(total, vaddq_s32(low, high));
      }
      scales[i / 32] = scale;
      sums[i / 32] = vaddvq_s32(total);
    }
  }
}

// Up to 4 of the `left` floats at p, `left` may be negative; the other lanes are 0.
inline float32x4_t load_some(const float* p, int64_t left) {
  if (left >= 4) return vld1q_f32(p);
  float some[4] = {};
  for (int64_t i = 0; i < left; ++i) some[i] = p[i];
  return vld1q_f32(some);
}

inline void store_some(float* p, int64_t left, float32x4_t value) {
  if (left >= 4) {
    vst1q_f32(p, value);
    return;
  }
  float some[4];
  vst1q_f32(some, value);
  for (int64_t i = 0; i < left; ++i) p[i] = some[i];
}

// Lanes in the order of the definition: (l, l + 8), (l, l + 4), (l, l + 2), (l, l + 1).
inline float sum_lanes(const float32x4_t lanes[4]) {
  const float32x4_t four = vaddq_f32(vaddq_f32(lanes[0], lanes[2]), vaddq_f32(lanes[1], lanes[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

void rms_norm(const float* x, const float* gain, int64_t n, float epsilon, float* out) {
  float32x4_t lanes[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
  for (int64_t i = 0; i < n; i += 16)
    for (int q = 0; q < 4; ++q) {
      const float32x4_t value = load_some(x + i + q * 4, n - i - q * 4);
      lanes[q] = vfmaq_f32(lanes[q], value, value);
    }
  const float r = 1.0f / __builtin_sqrtf(sum_lanes(lanes) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; i += 4)
    store_some(out + i, n - i,
               vmulq_f32(vmulq_n_f32(load_some(x + i, n - i), r), load_some(gain + i, n - i)));
}

void layer_norm(const float* x, const float* gain, const float* bias, int64_t n, float epsilon, float* out) {
  float32x4_t lanes[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
  float32x4_t squares[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
  for (int64_t i = 0; i < n; i += 4)
    lanes[i % 16 / 4] = vaddq_f32(lanes[i % 16 / 4], load_some(x + i, n - i));
  const float32x4_t mean = vdupq_n_f32(sum_lanes(lanes) / static_cast<float>(n));
  for (int64_t i = 0; i < n; i += 4) {
    store_some(out + i, n - i, vsubq_f32(load_some(x + i, n - i), mean));
    const float32x4_t d = load_some(out + i, n - i);  // without what lies beyond the row
    squares[i % 16 / 4] = vfmaq_f32(squares[i % 16 / 4], d, d);
  }
  const float r = 1.0f / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; i += 4) {
    const float32x4_t value = vmulq_n_f32(load_some(out + i, n - i), r);
    store_some(out + i, n - i, vfmaq_f32(load_some(bias + i, n - i), value, load_some(gain + i, n - i)));
  }
}

inline float32x4_t exp_kernel(float32x4_t x) {
  // Compare and select, not vmaxq / vminq: those would keep a NaN.
  x = vbslq_f32(vcgtq_f32(x, vdupq_n_f32(kExpLow)), x, vdupq_n_f32(kExpLow));
  x = vbslq_f32(vcltq_f32(x, vdupq_n_f32(kExpHigh)), x, vdupq_n_f32(kExpHigh));
  const float32x4_t k = vrndnq_f32(vmulq_n_f32(x, kExpLog2e));
  float32x4_t r = vfmaq_n_f32(x, k, -kExpLn2High);
  r = vfmaq_n_f32(r, k, -kExpLn2Low);
  float32x4_t p = vdupq_n_f32(kExpCoefficients[6]);
  for (int i = 5; i >= 0; --i) p = vfmaq_f32(vdupq_n_f32(kExpCoefficients[i]), p, r);
  const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(k), vdupq_n_s32(127)), 23);
  return vmulq_f32(p, vreinterpretq_f32_s32(power));
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 4) {
    const float32x4_t g = load_some(gate + i, n - i);
    const float32x4_t gated = vdivq_f32(g, vaddq_f32(vdupq_n_f32(1), exp_kernel(vnegq_f32(g))));
    store_some(out + i, n - i, vmulq_f32(gated, load_some(up + i, n - i)));
  }
}

template <int kDegree>
inline float32x4_t polynomial(const float (&coefficients)[kDegree + 1], float32x4_t x) {
  float32x4_t p = vdupq_n_f32(coefficients[kDegree]);
  for (int k = kDegree - 1; k >= 0; --k) p = vfmaq_f32(vdupq_n_f32(coefficients[k]), p, x);
  return p;
}

void gelu_tanh(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += 4) {
    const float32x4_t v = load_some(x + i, n - i);
    const float32x4_t factor = vfmaq_f32(vdupq_n_f32(kGeluLinear), vmulq_f32(v, v), vdupq_n_f32(kGeluCubic));
    const float32x4_t e = exp_kernel(vmulq_f32(v, factor));
    store_some(x + i, n - i, vdivq_f32(v, vaddq_f32(vdupq_n_f32(1), e)));
  }
}

void gelu_erf(float* x, int64_t n) {
  const float32x4_t one = vdupq_n_f32(1);
  for (int64_t i = 0; i < n; i += 4) {
    const float32x4_t v = load_some(x + i, n - i);
    const float32x4_t z = vmulq_n_f32(vabsq_f32(v), kSqrtHalf);
    const float32x4_t t = vdivq_f32(one, vfmaq_f32(one, z, vdupq_n_f32(kErfScale)));
    const float32x4_t e = exp_kernel(vnegq_f32(vmulq_f32(z, z)));
    const float32x4_t q = vmulq_f32(vmulq_f32(t, polynomial<4>(kErfCoefficients, t)), e);
    const float32x4_t tail = vmulq_f32(v, q);
    store_some(x + i, n - i, vbslq_f32(vcltq_f32(v, vdupq_n_f32(0)), tail, vsubq_f32(v, tail)));
  }
}

inline float32x4_t tanh_kernel(float32x4_t v) {
  const float32x4_t one = vdupq_n_f32(1), square = vmulq_f32(v, v);
  const float32x4_t small = vfmaq_f32(v, vmulq_f32(v, square), polynomial<4>(kTanhCoefficients, square));
  const float32x4_t e = exp_kernel(vmulq_n_f32(v, -2.0f));
  const float32x4_t large = vdivq_f32(vsubq_f32(one, e), vaddq_f32(one, e));
  return vbslq_f32(vcleq_f32(v, vdupq_n_f32(kTanhSmall)), small, large);
}

void soft_cap(float* x, int64_t n, float factor, float cap) {
  const uint32x4_t sign = vdupq_n_u32(0x80000000u);
  for (int64_t i = 0; i < n; i += 4) {
    const float32x4_t y = vmulq_n_f32(load_some(x + i, n - i), factor);
    const float32x4_t capped = vmulq_n_f32(tanh_kernel(vabsq_f32(y)), cap);
    store_some(x + i, n - i, vbslq_f32(sign, y, capped));
  }
}

void softmax(float* x, int64_t n, float scale) {
  float max = x[0];
  for (int64_t i = 1; i < n; ++i) max = x[i] > max ? x[i] : max;
  float32x4_t lanes[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
  for (int64_t i = 0; i < n; i += 4) {
    const float32x4_t scaled = vmulq_n_f32(vsubq_f32(load_some(x + i, n - i), vdupq_n_f32(max)), scale);
    store_some(x + i, n - i, exp_kernel(scaled));
    float32x4_t& lane = lanes[i % 16 / 4];
    lane = vaddq_f32(lane, load_some(x + i, n - i));  // without what lies beyond the row
  }
  const float inverse = 1.0f / sum_lanes(lanes);
  for (int64_t i = 0; i < n; i += 4) store_some(x + i, n - i, vmulq_n_f32(load_some(x + i, n - i), inverse));
}

void rope(float* x, const float* cosine, const float* sine, int64_t half) {
  for (int64_t i = 0; i < half; i += 4) {
    const int64_t left = half - i;
    const float32x4_t a = load_some(x + i, left), b = load_some(x + half + i, left);
    const float32x4_t c = load_some(cosine + i, left), s = load_some(sine + i, left);
    store_some(x + i, left, vfmaq_f32(vnegq_f32(vmulq_f32(b, s)), a, c));
    store_some(x + half + i, left, vfmaq_f32(vmulq_f32(a, s), b, c));
  }
}

int64_t int8_peak(int64_t loops) {
  int32x4_t sums[12] = {};
  for (int64_t i = 0; i < loops; ++i)
    for (auto& sum : sums) asm volatile("sdot %0.4s, %0.16b, %0.16b" : "+w"(sum));
  return loops * 12 * 16;
}

}  // namespace

extern const KernelTable kTable;
const KernelTable kTable = {.isa = "neondot",
                            .required_features = kNeonDot,
                            .matmul = matmul,
                            .float_matmul = float_matmul,
                            .decode_panel = decode_panel,
                            .decode_columns = decode_columns,
                            .quantize_row = quantize_row,
                            .rms_norm = rms_norm,
                            .layer_norm = layer_norm,
                            .silu_mul = silu_mul,
                            .gelu_tanh = gelu_tanh,
                            .gelu_erf = gelu_erf,
                            .soft_cap = soft_cap,
                            .softmax = softmax,
                            .rope = rope,
                            .int8_peak = int8_peak};

}  // namespace edgeq::isa::neondot
