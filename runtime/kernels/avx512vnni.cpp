// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VNNI: one zmm register is 16 rows by 4 columns, and vpdpbusd with a 4-byte broadcast of
// activations multiplies it in one instruction. Weights are decoded in registers, once for up to 8 tokens.
#include <immintrin.h>

#include "runtime/kernels/avx512_codes.h"
#include "runtime/kernels/kernel_abi.h"

namespace edgeq::isa::avx512vnni {
namespace {

constexpr int64_t kTile = 8;  // tokens whose sums are held in registers
constexpr int64_t kInputBytes =
    16384;  // activations that one pass over the panels takes: half a level-1 cache
constexpr int64_t kPrefetchBytes = 2048;  // how far ahead of what is in use, into the first-level cache

inline void prefetch(const unsigned char* in_use) {
  _mm_prefetch(reinterpret_cast<const char*>(in_use + kPrefetchBytes), _MM_HINT_T0);
}

// The documented sequence that ends a block: y = fma(float(dot), x_scale * w_scale, y).
inline __m512 add_block(__m512 y, __m512i dot, __m512 x_scale, __m512 w_scale) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(x_scale, w_scale), y);
}

inline __m512 add_offset(__m512 y, const int32_t* sum, __m512 x_scale, __m512 offset) {
  return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(broadcast_i32(sum)), x_scale), offset, y);
}

// One panel times kTokens tokens from `token` on, in two passes over some blocks: first the codes, then the
// scales. Memory is then read in the order of its addresses, which the hardware's prefetching needs (Zen 4:
// 11 GB/s going back and forth between the regions, 30 in order), and the software's runs ahead of it by
// whole panels, scales included. Weights are decoded in registers, once for all the tokens.
template <int kFormat, bool kCoded, int kTokens>
void multiply_panel(const KernelWeight& w, const KernelInput& x, int64_t token, const unsigned char* panel,
                    float* y, int64_t y_stride) {
  constexpr int kBits = bits_of(kFormat);
  constexpr int64_t kPassBlocks = kTokens <= 2 ? 64 : kTokens <= 4 ? 32 : 16;  // so that dots stay in L1
  const __m512i table = load_table(w);
  const int8_t* codes = x.codes + token * w.blocks * 32;
  const float* scales = x.scales + token * w.blocks;
  const int32_t* sums = x.sums + token * w.blocks;
  const __m512i minus_mid = _mm512_and_si512(_mm512_set1_epi32(-w.mid), _mm512_set1_epi32(0xffff));
  __m512 sum[kTokens];
  for (auto& s : sum) s = _mm512_setzero_ps();
  Group group{};
  int64_t next_group = 0, left = 1;  // blocks until the next group begins
  for (int64_t first = 0; first < w.blocks; first += kPassBlocks) {
    const int64_t end = first + kPassBlocks < w.blocks ? first + kPassBlocks : w.blocks;
    __m512i dots[kPassBlocks][kTokens];
    for (int64_t b = first; b < end; ++b) {
      const unsigned char* block = panel + b * 64 * kBits;
      for (int line = 0; line < kBits; ++line) prefetch(block + 64 * line);
      __m512i weights[8];
      decode_block<kFormat>(block, table, weights);
      __m512i dot[kTokens];
      for (int t = 0; t < kTokens; ++t)
        dot[t] = _mm512_madd_epi16(minus_mid, broadcast_i32(sums + t * w.blocks + b));
      for (int k = 0; k < 8; ++k)
        for (int t = 0; t < kTokens; ++t)
          dot[t] =
              _mm512_dpbusd_epi32(dot[t], weights[k], broadcast_i32(codes + (t * w.blocks + b) * 32 + 4 * k));
      for (int t = 0; t < kTokens; ++t) dots[b - first][t] = dot[t];
    }
    if (end == w.blocks)
      for (int64_t at = w.scales; at < w.panel_bytes; at += 64) prefetch(panel + at);
    for (int64_t b = first; b < end; ++b) {
      if (--left == 0) {
        group = load_group<kCoded>(w, panel, next_group++);
        left = w.group_blocks;
      }
      for (int t = 0; t < kTokens; ++t) {
        const int32_t* x_sum = sums + t * w.blocks + b;
        __m512i dot = dots[b - first][t];
        if (w.zeros >= 0)
          dot = _mm512_add_epi32(dot, _mm512_madd_epi16(group.minus_zero, broadcast_i32(x_sum)));
        const __m512 x_scale = _mm512_set1_ps(scales[t * w.blocks + b]);
        sum[t] = add_block(sum[t], dot, x_scale, group.scale);
        if (w.offsets >= 0) sum[t] = add_offset(sum[t], x_sum, x_scale, group.offset);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) _mm512_storeu_ps(y + t * y_stride, sum[t]);
}

using MultiplyPanel = void (*)(const KernelWeight&, const KernelInput&, int64_t, const unsigned char*, float*,
                               int64_t);
template <int kFormat, bool kCoded>
constexpr MultiplyPanel kOfTokens[kTile + 1] = {nullptr,
                                                multiply_panel<kFormat, kCoded, 1>,
                                                multiply_panel<kFormat, kCoded, 2>,
                                                multiply_panel<kFormat, kCoded, 3>,
                                                multiply_panel<kFormat, kCoded, 4>,
                                                multiply_panel<kFormat, kCoded, 5>,
                                                multiply_panel<kFormat, kCoded, 6>,
                                                multiply_panel<kFormat, kCoded, 7>,
                                                multiply_panel<kFormat, kCoded, 8>};
template <bool kCoded>
constexpr const MultiplyPanel* kMultiplyPanel[10] = {nullptr,
                                                     nullptr,
                                                     kOfTokens<2, kCoded>,
                                                     kOfTokens<3, kCoded>,
                                                     kOfTokens<4, kCoded>,
                                                     kOfTokens<5, kCoded>,
                                                     kOfTokens<6, kCoded>,
                                                     kOfTokens<7, kCoded>,
                                                     kOfTokens<8, kCoded>,
                                                     kOfTokens<kTable, kCoded>};

void matmul(const KernelWeight& w, const KernelInput& x, float* y, int64_t y_stride, int64_t panel_begin,
            int64_t panel_end) {
  const MultiplyPanel* multiply =
      w.scale_bytes == 1 ? kMultiplyPanel<true>[format_of(w)] : kMultiplyPanel<false>[format_of(w)];
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
inline __m512 load_column(const unsigned char* panel, int64_t column) {
  if constexpr (kElement == 0) return _mm512_loadu_ps(panel + column * 64);
  const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + column * 32));
  if constexpr (kElement == 1) return _mm512_cvtph_ps(raw);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

constexpr int64_t kFloatTile = 8;

// kPanels panels times kTokens tokens; every sum is a chain of its own, so that the multiply-adds overlap.
template <int kElement, int kPanels, int kTokens>
void float_tile(const KernelFloatWeight& w, const float* x, int64_t x_stride, float* y, int64_t y_stride,
                int64_t panel) {
  const unsigned char* panels = w.panels + panel * w.panel_bytes;
  __m512 sum[kPanels][kTokens];
  for (int p = 0; p < kPanels; ++p)
    for (int t = 0; t < kTokens; ++t) sum[p][t] = _mm512_setzero_ps();
  for (int64_t c = 0; c < w.cols; ++c)
    for (int p = 0; p < kPanels; ++p) {
      const __m512 weights = load_column<kElement>(panels + p * w.panel_bytes, c);
      for (int t = 0; t < kTokens; ++t)
        sum[p][t] = _mm512_fmadd_ps(weights, _mm512_set1_ps(x[t * x_stride + c]), sum[p][t]);
    }
  for (int p = 0; p < kPanels; ++p)
    for (int t = 0; t < kTokens; ++t) _mm512_storeu_ps(y + t * y_stride + (panel + p) * 16, sum[p][t]);
}

template <int kElement>
void float_panels(const KernelFloatWeight& w, const float* x, int64_t x_stride, int64_t tokens, float* y,
                  int64_t y_stride, int64_t panel_begin, int64_t panel_end) {
  int64_t t = 0;
  for (; t + kFloatTile <= tokens; t += kFloatTile) {
    int64_t p = panel_begin;
    for (; p + 2 <= panel_end; p += 2)
      float_tile<kElement, 2, kFloatTile>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, p);
    for (; p < panel_end; ++p)
      float_tile<kElement, 1, kFloatTile>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, p);
  }
  for (; t + 4 <= tokens; t += 4) {
    int64_t p = panel_begin;
    for (; p + 2 <= panel_end; p += 2)
      float_tile<kElement, 2, 4>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, p);
    for (; p < panel_end; ++p)
      float_tile<kElement, 1, 4>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, p);
  }
  for (; t < tokens; ++t) {
    int64_t p = panel_begin;
    for (; p + 4 <= panel_end; p += 4)
      float_tile<kElement, 4, 1>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, p);
    for (; p < panel_end; ++p)
      float_tile<kElement, 1, 1>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, p);
  }
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
  const __m512i table = load_table(w);
  for (int64_t b = 0; b < w.blocks; ++b) {
    const Group group = w.scale_bytes == 1 ? load_group<true>(w, panel, b / w.group_blocks)
                                           : load_group<false>(w, panel, b / w.group_blocks);
    const __m512i minus_zero = _mm512_srai_epi32(_mm512_slli_epi32(group.minus_zero, 16), 16);
    __m512i codes[8];
    decode_block<kFormat>(panel + b * 64 * kBits, table, codes);
    for (int64_t k = 0; k < 8; ++k)
      for (int64_t c = b * 32 + k * 4; c < b * 32 + k * 4 + 4 && c < w.cols; ++c) {
        const __m512i code = _mm512_and_si512(codes[k], _mm512_set1_epi32(0xff));
        codes[k] = _mm512_srli_epi32(codes[k], 8);  // 4 columns share a lane, the first in the low byte
        const __m512 level = _mm512_cvtepi32_ps(_mm512_add_epi32(code, minus_zero));
        _mm512_storeu_ps(out + c * 16, _mm512_add_ps(_mm512_mul_ps(group.scale, level), group.offset));
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
inline void decode_column(__m128i codes, float scale, float offset, float* out) {
  const __m512 values = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
  _mm512_storeu_ps(out, _mm512_fmadd_ps(_mm512_set1_ps(scale), values, _mm512_set1_ps(offset)));
}

void decode_columns(const KernelColumns& k, float* out) {
  const __m128i nibble = _mm_set1_epi8(15);
  for (int64_t first = 0; first < k.cols; first += 16) {
    alignas(64) float scales[16], offsets[16];
    _mm512_store_ps(scales, load_scales(k.scales + first * 2, 2));
    _mm512_store_ps(offsets, load_scales(k.offsets + first * 2, 2));
    for (int c = 0; c < 16; c += 2) {
      const unsigned char* at = k.codes + (first + c) * 2 * k.bits;
      const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
      const __m128i even = k.bits == 8 ? codes : _mm_and_si128(codes, nibble);
      const __m128i odd = k.bits == 8 ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16))
                                      : _mm_and_si128(_mm_srli_epi16(codes, 4), nibble);
      decode_column(even, scales[c], offsets[c], out + (first + c) * 16);
      decode_column(odd, scales[c + 1], offsets[c + 1], out + (first + c + 1) * 16);
    }
  }
}

// ---- activations and element-wise operations ----

inline __mmask16 tail_mask(int64_t left) {
  return left >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << left) - 1);
}

void quantize_row(const float* x, int64_t n, int64_t group, int8_t* codes, float* scales, int32_t* sums) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  for (int64_t g = 0; g < n; g += group) {
    __m512i max = _mm512_setzero_si512();
    for (int64_t i = g; i < g + group; i += 16)
      max = _mm512_max_epi32(max, _mm512_and_si512(_mm512_loadu_si512(x + i), magnitude));
    const int32_t max_bits = _mm512_reduce_max_epi32(max);
    const bool finite = max_bits < 0x7f800000;
    const bool usable = finite && max_bits >= 0x0d800000;  // 2^-100
    float max_value;
    __builtin_memcpy(&max_value, &max_bits, 4);
    const float scale = usable ? max_value / 127.0f : finite ? 0.0f : __builtin_nanf("");
    const __m512 inverse = _mm512_set1_ps(usable ? 127.0f / max_value : 0.0f);
    const __mmask16 lanes = usable ? 0xffff : 0;
    for (int64_t i = g; i < g + group; i += 32) {
      const __m512i low = _mm512_maskz_cvtps_epi32(lanes, _mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
      const __m512i high =
          _mm512_maskz_cvtps_epi32(lanes, _mm512_mul_ps(_mm512_loadu_ps(x + i + 16), inverse));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i), _mm512_cvtepi32_epi8(low));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i + 16), _mm512_cvtepi32_epi8(high));
      scales[i / 32] = scale;
      sums[i / 32] = _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
    }
  }
}

// Lanes in the order of the definition: (l, l + 8), (l, l + 4), (l, l + 2), (l, l + 1).
inline float sum_lanes(__m512 lanes) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

void rms_norm(const float* x, const float* gain, int64_t n, float epsilon, float* out) {
  __m512 lanes = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 value = _mm512_maskz_loadu_ps(mask, x + i);
    lanes = _mm512_fmadd_ps(value, value, lanes);
  }
  const float r = 1.0f / __builtin_sqrtf(sum_lanes(lanes) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(r));
    _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(value, _mm512_maskz_loadu_ps(mask, gain + i)));
  }
}

void layer_norm(const float* x, const float* gain, const float* bias, int64_t n, float epsilon, float* out) {
  __m512 lanes = _mm512_setzero_ps(), squares = lanes;
  for (int64_t i = 0; i < n; i += 16)
    lanes = _mm512_add_ps(lanes, _mm512_maskz_loadu_ps(tail_mask(n - i), x + i));
  const __m512 mean = _mm512_set1_ps(sum_lanes(lanes) / static_cast<float>(n));
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 d = _mm512_maskz_sub_ps(mask, _mm512_maskz_loadu_ps(mask, x + i), mean);
    _mm512_mask_storeu_ps(out + i, mask, d);
    squares = _mm512_fmadd_ps(d, d, squares);
  }
  const float r = 1.0f / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, out + i), _mm512_set1_ps(r));
    const __m512 g = _mm512_maskz_loadu_ps(mask, gain + i), b = _mm512_maskz_loadu_ps(mask, bias + i);
    _mm512_mask_storeu_ps(out + i, mask, _mm512_fmadd_ps(value, g, b));
  }
}

inline __m512 exp_kernel(__m512 x) {
  x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(kExpLow)), _mm512_set1_ps(kExpHigh));
  const __m512 k = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(kExpLog2e)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fmadd_ps(k, _mm512_set1_ps(-kExpLn2High), x);
  r = _mm512_fmadd_ps(k, _mm512_set1_ps(-kExpLn2Low), r);
  __m512 p = _mm512_set1_ps(kExpCoefficients[6]);
  for (int i = 5; i >= 0; --i) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExpCoefficients[i]));
  const __m512i power =
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(k), _mm512_set1_epi32(127)), 23);
  return _mm512_mul_ps(p, _mm512_castsi512_ps(power));
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 g = _mm512_maskz_loadu_ps(mask, gate + i);
    const __m512 minus_g = _mm512_xor_ps(g, _mm512_set1_ps(-0.0f));
    const __m512 gated = _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0f), exp_kernel(minus_g)));
    _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(gated, _mm512_maskz_loadu_ps(mask, up + i)));
  }
}

template <int kDegree>
inline __m512 polynomial(const float (&coefficients)[kDegree + 1], __m512 x) {
  __m512 p = _mm512_set1_ps(coefficients[kDegree]);
  for (int k = kDegree - 1; k >= 0; --k) p = _mm512_fmadd_ps(p, x, _mm512_set1_ps(coefficients[k]));
  return p;
}

void gelu_tanh(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
    const __m512 factor =
        _mm512_fmadd_ps(_mm512_mul_ps(v, v), _mm512_set1_ps(kGeluCubic), _mm512_set1_ps(kGeluLinear));
    const __m512 e = exp_kernel(_mm512_mul_ps(v, factor));
    _mm512_mask_storeu_ps(x + i, mask, _mm512_div_ps(v, _mm512_add_ps(_mm512_set1_ps(1.0f), e)));
  }
}

void gelu_erf(float* x, int64_t n) {
  const __m512 one = _mm512_set1_ps(1.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
    const __m512 z = _mm512_mul_ps(_mm512_abs_ps(v), _mm512_set1_ps(kSqrtHalf));
    const __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(z, _mm512_set1_ps(kErfScale), one));
    const __m512 e = exp_kernel(_mm512_xor_ps(_mm512_mul_ps(z, z), _mm512_set1_ps(-0.0f)));
    const __m512 q = _mm512_mul_ps(_mm512_mul_ps(t, polynomial<4>(kErfCoefficients, t)), e);
    const __m512 tail = _mm512_mul_ps(v, q);
    const __mmask16 negative = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ);
    _mm512_mask_storeu_ps(x + i, mask, _mm512_mask_mov_ps(_mm512_sub_ps(v, tail), negative, tail));
  }
}

inline __m512 tanh_kernel(__m512 v) {
  const __m512 one = _mm512_set1_ps(1.0f), square = _mm512_mul_ps(v, v);
  const __m512 small = _mm512_fmadd_ps(_mm512_mul_ps(v, square), polynomial<4>(kTanhCoefficients, square), v);
  const __m512 e = exp_kernel(_mm512_mul_ps(v, _mm512_set1_ps(-2.0f)));
  const __m512 large = _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_add_ps(one, e));
  return _mm512_mask_mov_ps(large, _mm512_cmp_ps_mask(v, _mm512_set1_ps(kTanhSmall), _CMP_LE_OQ), small);
}

void soft_cap(float* x, int64_t n, float factor, float cap) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 y = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(factor));
    const __m512 capped = _mm512_mul_ps(_mm512_set1_ps(cap), tanh_kernel(_mm512_abs_ps(y)));
    const __m512 sign = _mm512_and_ps(y, _mm512_set1_ps(-0.0f));
    _mm512_mask_storeu_ps(x + i, mask, _mm512_or_ps(_mm512_abs_ps(capped), sign));
  }
}

void softmax(float* x, int64_t n, float scale) {
  __m512 max_lanes = _mm512_set1_ps(x[0]);
  for (int64_t i = 0; i < n; i += 16)
    max_lanes = _mm512_mask_max_ps(max_lanes, tail_mask(n - i),
                                   _mm512_maskz_loadu_ps(tail_mask(n - i), x + i), max_lanes);
  const __m512 max = _mm512_set1_ps(_mm512_reduce_max_ps(max_lanes));
  __m512 lanes = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 scaled =
        _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), max), _mm512_set1_ps(scale));
    const __m512 e = _mm512_maskz_mov_ps(mask, exp_kernel(scaled));
    _mm512_mask_storeu_ps(x + i, mask, e);
    lanes = _mm512_add_ps(lanes, e);
  }
  const __m512 inverse = _mm512_set1_ps(1.0f / sum_lanes(lanes));
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    _mm512_mask_storeu_ps(x + i, mask, _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), inverse));
  }
}

void rope(float* x, const float* cosine, const float* sine, int64_t half) {
  for (int64_t i = 0; i < half; i += 16) {
    const __mmask16 mask = tail_mask(half - i);
    const __m512 a = _mm512_maskz_loadu_ps(mask, x + i), b = _mm512_maskz_loadu_ps(mask, x + half + i);
    const __m512 c = _mm512_maskz_loadu_ps(mask, cosine + i), s = _mm512_maskz_loadu_ps(mask, sine + i);
    _mm512_mask_storeu_ps(x + i, mask, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
    _mm512_mask_storeu_ps(x + half + i, mask, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
  }
}

int64_t int8_peak(int64_t loops) {
  __m512i sums[12] = {};
  for (int64_t i = 0; i < loops; ++i)
    for (auto& sum : sums) asm volatile("vpdpbusd %0, %0, %0" : "+v"(sum));
  return loops * 12 * 64;
}

}  // namespace

extern const KernelTable kTable;
const KernelTable kTable = {.isa = "avx512vnni",
                            .required_features = kAvx512Vnni,
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

}  // namespace edgeq::isa::avx512vnni
