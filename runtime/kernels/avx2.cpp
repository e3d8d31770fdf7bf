// SPDX-License-Identifier: Apache-2.0
// AVX2 with FMA and F16C: 16 rows by 4 columns are two ymm registers, "halves" of 8 rows. vpmaddubsw
// multiplies unsigned codes by signed activations and adds pairs in int16 with saturation, so sums are kept
// below 2^15:
//   a product pair is at most 2 * (2^bits - 1) * 127, hence 8 of them fit for bits <= 4 (30,480), 4 for 5
//   bits (31,496), 2 for 6 (32,004), 1 for 7 (32,258). For 8 bits the code minus 128 is split into its
//   magnitude (unsigned, at most 128) and its sign, which moves to the activation (at least -127, so it can
//   be negated): 2 * 128 * 127 = 32,512. Levels of a table are signed as they are, at most 127.
#include <immintrin.h>

#include "runtime/kernels/kernel_abi.h"

namespace edgeq::isa::avx2 {
namespace {

constexpr int64_t kTile = 4;  // tokens whose sums are held in registers
constexpr int64_t kInputBytes =
    16384;  // activations that one pass over the panels takes: half a level-1 cache
constexpr int64_t kPrefetchBytes = 2048;  // how far ahead of what is in use, into the first-level cache

// How codes lie: 2..8 bits, or kTable: 4 bits that look up a level.
constexpr int kTable = 9;
constexpr int bits_of(int format) { return format == kTable ? 4 : format; }
inline int format_of(const KernelWeight& w) { return w.levels == nullptr ? w.bits : kTable; }

inline __m256i load_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

inline __m256i broadcast_i32(const void* p) {
  int32_t value;
  __builtin_memcpy(&value, p, 4);
  return _mm256_set1_epi32(value);
}

inline void prefetch(const unsigned char* in_use) {
  _mm_prefetch(reinterpret_cast<const char*>(in_use + kPrefetchBytes), _MM_HINT_T0);
}

// scale, offset and zero point of one group of 8 rows of a panel.
struct Group {
  __m256 scale, offset;  // no offset: -0, which added changes nothing
  __m256i minus_zero;    // as pairs of int16 (-zero, 0), for a multiply by the block's sum, |sum| <= 32 * 127
};

inline __m256 load_scales(const unsigned char* p, int32_t scale_bytes) {
  if (scale_bytes == 4) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// The 8 codes at `codes` times the outer scales at `outer`.
inline __m256 coded_scales(const unsigned char* codes, const unsigned char* outer) {
  const __m128i raw = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes));
  return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(raw)),
                       _mm256_loadu_ps(reinterpret_cast<const float*>(outer)));
}

// `bias` is what decode_step has taken off the codes.
inline Group load_group(const KernelWeight& w, const unsigned char* panel, int64_t group, int half,
                        int bias) {
  Group g;
  g.offset = _mm256_set1_ps(-0.0f);
  const int64_t first = group * 16 + half * 8, at = first * w.scale_bytes;
  if (w.scale_bytes == 1) {
    const int64_t outer = (group >> w.outer_shift) * 64 + half * 32;
    g.scale = coded_scales(panel + w.scales + at, panel + w.outer_scales + outer);
    if (w.offsets >= 0)
      g.offset =
          _mm256_xor_ps(coded_scales(panel + w.offsets + at, panel + w.outer_offsets + outer), g.offset);
  } else {
    g.scale = load_scales(panel + w.scales + at, w.scale_bytes);
    if (w.offsets >= 0) g.offset = load_scales(panel + w.offsets + at, w.scale_bytes);
  }
  const __m256i zero =
      w.zeros < 0
          ? _mm256_set1_epi32(w.mid)
          : _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(panel + w.zeros + first)));
  g.minus_zero = _mm256_and_si256(_mm256_sub_epi32(_mm256_set1_epi32(bias), zero), _mm256_set1_epi32(0xffff));
  return g;
}

// The bits of columns 4 * step ... 4 * step + 3 that lie in the plane of kPlane bits at `codes`, at bit
// kShift.
template <int kPlane, int kShift>
inline __m256i decode_plane(const unsigned char* codes, int step) {
  const __m256i mask = _mm256_set1_epi8(static_cast<char>(((1 << kPlane) - 1) << kShift));
  const __m256i raw = load_bytes(codes + step % kPlane * 64);
  const int shift = kShift - step / kPlane * kPlane;
  return _mm256_and_si256(shift >= 0 ? _mm256_slli_epi16(raw, shift) : _mm256_srli_epi16(raw, -shift), mask);
}

inline __m256i load_table(const KernelWeight& w) {
  if (w.levels == nullptr) return _mm256_setzero_si256();
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.levels)));
}

// Codes of 8 rows x 4 columns as bytes: unsigned, but for 8 bits and tables signed with 128 taken off.
template <int kFormat>
constexpr int kBias = kFormat == 8 || kFormat == kTable ? 128 : 0;

template <int kFormat>
inline __m256i decode_step(const unsigned char* block, __m256i table, int step) {
  constexpr int kBits = bits_of(kFormat);
  if constexpr (kBits == 8)
    return _mm256_xor_si256(load_bytes(block + step * 64), _mm256_set1_epi8(static_cast<char>(0x80)));
  __m256i codes = _mm256_setzero_si256();
  if constexpr ((kBits & 4) != 0) codes = decode_plane<4, 0>(block, step);
  if constexpr ((kBits & 2) != 0)
    codes = _mm256_or_si256(codes, decode_plane<2, kBits & 4>(block + (kBits & 4) * 64, step));
  if constexpr ((kBits & 1) != 0)
    codes = _mm256_or_si256(codes, decode_plane<1, kBits & 6>(block + (kBits & 6) * 64, step));
  if constexpr (kFormat == kTable) codes = _mm256_shuffle_epi8(table, codes);
  return codes;
}

// Steps whose products may be added in int16 (see the bound above).
template <int kFormat>
constexpr int kStepsInInt16 = kFormat <= 4   ? 8
                              : kFormat == 5 ? 4
                              : kFormat == 6 ? 2
                                             : 1;

template <int kFormat>
inline __m256i multiply_step(__m256i codes, __m256i x) {
  if constexpr (kBias<kFormat> != 0)
    return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
  return _mm256_maddubs_epi16(codes, x);
}

// dot[t] += codes of 8 rows times the activations of token t, over one block.
template <int kFormat, int kTokens>
inline void multiply_block(const unsigned char* block, __m256i table, const int8_t* x, int64_t x_stride,
                           __m256i dot[kTokens]) {
  constexpr int kSteps = kStepsInInt16<kFormat>;
  for (int first = 0; first < 8; first += kSteps) {
    __m256i pairs[kTokens];
    for (int t = 0; t < kTokens; ++t) pairs[t] = _mm256_setzero_si256();
    for (int step = first; step < first + kSteps; ++step) {
      const __m256i codes = decode_step<kFormat>(block, table, step);
      for (int t = 0; t < kTokens; ++t) {
        const __m256i product = multiply_step<kFormat>(codes, broadcast_i32(x + t * x_stride + step * 4));
        pairs[t] = _mm256_add_epi16(pairs[t], product);
      }
    }
    for (int t = 0; t < kTokens; ++t)
      dot[t] = _mm256_add_epi32(dot[t], _mm256_madd_epi16(pairs[t], _mm256_set1_epi16(1)));
  }
}

// One half of a panel times kTokens tokens from `token` on.
template <int kFormat, int kTokens>
inline void multiply_half(const KernelWeight& w, const KernelInput& x, int64_t token,
                          const unsigned char* panel, int half, float* y, int64_t y_stride) {
  constexpr int kBits = bits_of(kFormat);
  const __m256i table = load_table(w);
  const int8_t* codes = x.codes + token * w.blocks * 32;
  const float* scales = x.scales + token * w.blocks;
  const int32_t* sums = x.sums + token * w.blocks;
  __m256 sum[kTokens];
  for (auto& s : sum) s = _mm256_setzero_ps();
  for (int64_t b = 0, g = 0; b < w.blocks; ++g) {
    const Group group = load_group(w, panel, g, half, kBias<kFormat>);
    const int64_t end = b + w.group_blocks < w.blocks ? b + w.group_blocks : w.blocks;
    for (; b < end; ++b) {
      const unsigned char* block = panel + b * 64 * kBits;
      for (int line = 0; line < kBits; ++line) prefetch(block + 64 * line);
      __m256i dot[kTokens];
      for (int t = 0; t < kTokens; ++t)
        dot[t] = _mm256_madd_epi16(group.minus_zero, broadcast_i32(sums + t * w.blocks + b));
      multiply_block<kFormat, kTokens>(block + half * 32, table, codes + b * 32, w.blocks * 32, dot);
      for (int t = 0; t < kTokens; ++t) {
        const __m256 x_scale = _mm256_set1_ps(scales[t * w.blocks + b]);
        sum[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[t]), _mm256_mul_ps(x_scale, group.scale), sum[t]);
        if (w.offsets < 0) continue;
        const __m256 x_sum = _mm256_cvtepi32_ps(broadcast_i32(sums + t * w.blocks + b));
        sum[t] = _mm256_fmadd_ps(_mm256_mul_ps(x_sum, x_scale), group.offset, sum[t]);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) _mm256_storeu_ps(y + t * y_stride + half * 8, sum[t]);
}

// One panel times kTokens tokens from `token` on, in two passes over some blocks: first the codes, then the
// scales, so that memory is read in the order of its addresses and prefetch runs ahead over both. More tokens
// wait for arithmetic, not for memory.
template <int kFormat, int kTokens>
inline void multiply_in_order(const KernelWeight& w, const KernelInput& x, int64_t token,
                              const unsigned char* panel, float* y, int64_t y_stride) {
  constexpr int kBits = bits_of(kFormat);
  constexpr int64_t kPassBlocks = 64;
  const __m256i table = load_table(w);
  const int8_t* codes = x.codes + token * w.blocks * 32;
  const float* scales = x.scales + token * w.blocks;
  const int32_t* sums = x.sums + token * w.blocks;
  const __m256i minus_mid = _mm256_set1_epi32(w.zeros < 0 ? (kBias<kFormat> - w.mid) & 0xffff : 0);
  __m256 sum[2][kTokens];
  for (auto& row : sum)
    for (auto& s : row) s = _mm256_setzero_ps();
  Group group[2]{};
  int64_t next_group = 0, left = 1;  // blocks until the next group begins
  for (int64_t first = 0; first < w.blocks; first += kPassBlocks) {
    const int64_t end = first + kPassBlocks < w.blocks ? first + kPassBlocks : w.blocks;
    __m256i dots[kPassBlocks][2][kTokens];
    for (int64_t b = first; b < end; ++b) {
      const unsigned char* block = panel + b * 64 * kBits;
      for (int line = 0; line < kBits; ++line) prefetch(block + 64 * line);
      for (int h = 0; h < 2; ++h) {
        __m256i dot[kTokens];
        for (int t = 0; t < kTokens; ++t)
          dot[t] = _mm256_madd_epi16(minus_mid, broadcast_i32(sums + t * w.blocks + b));
        multiply_block<kFormat, kTokens>(block + h * 32, table, codes + b * 32, w.blocks * 32, dot);
        for (int t = 0; t < kTokens; ++t) dots[b - first][h][t] = dot[t];
      }
    }
    if (end == w.blocks)
      for (int64_t at = w.scales; at < w.panel_bytes; at += 64) prefetch(panel + at);
    for (int64_t b = first; b < end; ++b) {
      if (--left == 0) {
        for (int h = 0; h < 2; ++h) group[h] = load_group(w, panel, next_group, h, kBias<kFormat>);
        ++next_group;
        left = w.group_blocks;
      }
      for (int t = 0; t < kTokens; ++t) {
        const __m256i x_sum = broadcast_i32(sums + t * w.blocks + b);
        const __m256 x_scale = _mm256_set1_ps(scales[t * w.blocks + b]);
        for (int h = 0; h < 2; ++h) {
          __m256i dot = dots[b - first][h][t];
          if (w.zeros >= 0) dot = _mm256_add_epi32(dot, _mm256_madd_epi16(group[h].minus_zero, x_sum));
          sum[h][t] =
              _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(x_scale, group[h].scale), sum[h][t]);
          if (w.offsets < 0) continue;
          sum[h][t] =
              _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(x_sum), x_scale), group[h].offset, sum[h][t]);
        }
      }
    }
  }
  for (int h = 0; h < 2; ++h)
    for (int t = 0; t < kTokens; ++t) _mm256_storeu_ps(y + t * y_stride + h * 8, sum[h][t]);
}

// 16 registers hold one half of up to 4 tokens.
template <int kFormat, int kTokens>
void multiply_panel(const KernelWeight& w, const KernelInput& x, int64_t token, const unsigned char* panel,
                    float* y, int64_t y_stride) {
  if constexpr (kTokens <= 2) {
    multiply_in_order<kFormat, kTokens>(w, x, token, panel, y, y_stride);
  } else {
    multiply_half<kFormat, kTokens>(w, x, token, panel, 0, y, y_stride);
    multiply_half<kFormat, kTokens>(w, x, token, panel, 1, y, y_stride);
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
inline __m256 load_column(const unsigned char* panel, int64_t column, int half) {
  const int64_t first = column * 16 + half * 8;
  if constexpr (kElement == 0) return _mm256_loadu_ps(reinterpret_cast<const float*>(panel) + first);
  const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(panel + first * 2));
  if constexpr (kElement == 1) return _mm256_cvtph_ps(raw);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
}

// kPanels panels times kTokens tokens; every sum is a chain of its own, so that the multiply-adds overlap.
template <int kElement, int kPanels, int kTokens>
inline void float_tile(const KernelFloatWeight& w, const float* x, int64_t x_stride, float* y,
                       int64_t y_stride, int64_t panel) {
  const unsigned char* panels = w.panels + panel * w.panel_bytes;
  __m256 sum[kPanels][kTokens][2];
  for (auto& of_panel : sum)
    for (auto& of_token : of_panel) of_token[0] = of_token[1] = _mm256_setzero_ps();
  for (int64_t c = 0; c < w.cols; ++c)
    for (int p = 0; p < kPanels; ++p) {
      const __m256 low = load_column<kElement>(panels + p * w.panel_bytes, c, 0);
      const __m256 high = load_column<kElement>(panels + p * w.panel_bytes, c, 1);
      for (int t = 0; t < kTokens; ++t) {
        const __m256 value = _mm256_set1_ps(x[t * x_stride + c]);
        sum[p][t][0] = _mm256_fmadd_ps(low, value, sum[p][t][0]);
        sum[p][t][1] = _mm256_fmadd_ps(high, value, sum[p][t][1]);
      }
    }
  for (int p = 0; p < kPanels; ++p)
    for (int t = 0; t < kTokens; ++t)
      for (int h = 0; h < 2; ++h) _mm256_storeu_ps(y + t * y_stride + (panel + p) * 16 + h * 8, sum[p][t][h]);
}

// kTokens tokens times all panels, kPanels at a time.
template <int kElement, int kPanels, int kTokens>
void float_strip(const KernelFloatWeight& w, const float* x, int64_t x_stride, float* y, int64_t y_stride,
                 int64_t panel_begin, int64_t panel_end) {
  int64_t p = panel_begin;
  for (; p + kPanels <= panel_end; p += kPanels)
    float_tile<kElement, kPanels, kTokens>(w, x, x_stride, y, y_stride, p);
  for (; p < panel_end; ++p) float_tile<kElement, 1, kTokens>(w, x, x_stride, y, y_stride, p);
}

template <int kElement>
void float_panels(const KernelFloatWeight& w, const float* x, int64_t x_stride, int64_t tokens, float* y,
                  int64_t y_stride, int64_t panel_begin, int64_t panel_end) {
  int64_t t = 0;
  for (; t + 6 <= tokens; t += 6)
    float_strip<kElement, 1, 6>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, panel_begin,
                                panel_end);
  for (; t + 3 <= tokens; t += 3)
    float_strip<kElement, 2, 3>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, panel_begin,
                                panel_end);
  for (; t < tokens; ++t)
    float_strip<kElement, 4, 1>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, panel_begin,
                                panel_end);
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
  const __m256i table = load_table(w);
  for (int64_t b = 0; b < w.blocks; ++b)
    for (int half = 0; half < 2; ++half) {
      const Group group = load_group(w, panel, b / w.group_blocks, half, 0);
      const __m256i minus_zero = _mm256_srai_epi32(_mm256_slli_epi32(group.minus_zero, 16), 16);
      for (int step = 0; step < 8; ++step) {
        __m256i codes = decode_step<kFormat>(panel + b * 64 * kBits + half * 32, table, step);
        if (kBias<kFormat> != 0) codes = _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(0x80)));
        for (int64_t c = b * 32 + step * 4; c < b * 32 + step * 4 + 4 && c < w.cols; ++c) {
          const __m256i code = _mm256_and_si256(codes, _mm256_set1_epi32(0xff));
          codes = _mm256_srli_epi32(codes, 8);  // 4 columns share a lane, the first in the low byte
          const __m256 level = _mm256_cvtepi32_ps(_mm256_add_epi32(code, minus_zero));
          _mm256_storeu_ps(out + c * 16 + half * 8,
                           _mm256_add_ps(_mm256_mul_ps(group.scale, level), group.offset));
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
inline void decode_column(__m128i codes, float scale, float offset, float* out) {
  const __m256 s = _mm256_set1_ps(scale), o = _mm256_set1_ps(offset);
  const __m256 low = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
  const __m256 high = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(codes, codes)));
  _mm256_storeu_ps(out, _mm256_fmadd_ps(s, low, o));
  _mm256_storeu_ps(out + 8, _mm256_fmadd_ps(s, high, o));
}

void decode_columns(const KernelColumns& k, float* out) {
  const __m128i nibble = _mm_set1_epi8(15);
  for (int64_t first = 0; first < k.cols; first += 8) {
    alignas(32) float scales[8], offsets[8];
    _mm256_store_ps(scales, load_scales(k.scales + first * 2, 2));
    _mm256_store_ps(offsets, load_scales(k.offsets + first * 2, 2));
    for (int c = 0; c < 8; c += 2) {
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

// Lanes below `left`, which may be negative or above 8.
inline __m256i tail_mask(int64_t left) {
  const int count = left > 8 ? 8 : static_cast<int>(left);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// Up to 8 of the `left` floats at p; the other lanes are 0.
inline __m256 load_some(const float* p, int64_t left) {
  return left >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, tail_mask(left));
}

inline void store_some(float* p, int64_t left, __m256 value) {
  if (left >= 8)
    _mm256_storeu_ps(p, value);
  else
    _mm256_maskstore_ps(p, tail_mask(left), value);
}

inline int32_t reduce_max(__m256i lanes) {
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

inline int32_t reduce_add(__m256i lanes) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

inline __m128i narrow(__m256i eight) {
  return _mm_packs_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
}

void quantize_row(const float* x, int64_t n, int64_t group, int8_t* codes, float* scales, int32_t* sums) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  for (int64_t g = 0; g < n; g += group) {
    __m256i max = _mm256_setzero_si256();
    for (int64_t i = g; i < g + group; i += 8)
      max = _mm256_max_epi32(max, _mm256_and_si256(load_bytes(x + i), magnitude));
    const int32_t max_bits = reduce_max(max);
    const bool finite = max_bits < 0x7f800000;
    const bool usable = finite && max_bits >= 0x0d800000;  // 2^-100
    float max_value;
    __builtin_memcpy(&max_value, &max_bits, 4);
    const float scale = usable ? max_value / 127.0f : finite ? 0.0f : __builtin_nanf("");
    const __m256 inverse = _mm256_set1_ps(usable ? 127.0f / max_value : 0.0f);
    const __m256i lanes = _mm256_set1_epi32(usable ? -1 : 0);
    for (int64_t i = g; i < g + group; i += 32) {
      __m256i q[4];
      for (int j = 0; j < 4; ++j)
        q[j] = _mm256_and_si256(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + j * 8), inverse)),
                                lanes);
      for (int j = 0; j < 2; ++j)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i + j * 16),
                         _mm_packs_epi16(narrow(q[2 * j]), narrow(q[2 * j + 1])));
      scales[i / 32] = scale;
      sums[i / 32] = reduce_add(_mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3])));
    }
  }
}

// Lanes in the order of the definition: (l, l + 8), (l, l + 4), (l, l + 2), (l, l + 1).
inline float sum_lanes(__m256 low, __m256 high) {
  const __m256 eight = _mm256_add_ps(low, high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

void rms_norm(const float* x, const float* gain, int64_t n, float epsilon, float* out) {
  __m256 low = _mm256_setzero_ps(), high = low;
  for (int64_t i = 0; i < n; i += 16) {
    const __m256 a = load_some(x + i, n - i), b = load_some(x + i + 8, n - i - 8);
    low = _mm256_fmadd_ps(a, a, low);
    high = _mm256_fmadd_ps(b, b, high);
  }
  const float r = 1.0f / __builtin_sqrtf(sum_lanes(low, high) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 value = _mm256_mul_ps(load_some(x + i, n - i), _mm256_set1_ps(r));
    store_some(out + i, n - i, _mm256_mul_ps(value, load_some(gain + i, n - i)));
  }
}

void layer_norm(const float* x, const float* gain, const float* bias, int64_t n, float epsilon, float* out) {
  __m256 low = _mm256_setzero_ps(), high = low;
  for (int64_t i = 0; i < n; i += 16) {
    low = _mm256_add_ps(low, load_some(x + i, n - i));
    high = _mm256_add_ps(high, load_some(x + i + 8, n - i - 8));
  }
  const __m256 mean = _mm256_set1_ps(sum_lanes(low, high) / static_cast<float>(n));
  for (int64_t i = 0; i < n; i += 8) store_some(out + i, n - i, _mm256_sub_ps(load_some(x + i, n - i), mean));
  low = high = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i += 16) {
    const __m256 a = load_some(out + i, n - i), b = load_some(out + i + 8, n - i - 8);
    low = _mm256_fmadd_ps(a, a, low);
    high = _mm256_fmadd_ps(b, b, high);
  }
  const float r = 1.0f / __builtin_sqrtf(sum_lanes(low, high) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 value = _mm256_mul_ps(load_some(out + i, n - i), _mm256_set1_ps(r));
    store_some(out + i, n - i,
               _mm256_fmadd_ps(value, load_some(gain + i, n - i), load_some(bias + i, n - i)));
  }
}

inline __m256 exp_kernel(__m256 x) {
  x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(kExpLow)), _mm256_set1_ps(kExpHigh));
  const __m256 k = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(kExpLog2e)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fmadd_ps(k, _mm256_set1_ps(-kExpLn2High), x);
  r = _mm256_fmadd_ps(k, _mm256_set1_ps(-kExpLn2Low), r);
  __m256 p = _mm256_set1_ps(kExpCoefficients[6]);
  for (int i = 5; i >= 0; --i) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExpCoefficients[i]));
  const __m256i power =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 g = load_some(gate + i, n - i);
    const __m256 minus_g = _mm256_xor_ps(g, _mm256_set1_ps(-0.0f));
    const __m256 gated = _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0f), exp_kernel(minus_g)));
    store_some(out + i, n - i, _mm256_mul_ps(gated, load_some(up + i, n - i)));
  }
}

template <int kDegree>
inline __m256 polynomial(const float (&coefficients)[kDegree + 1], __m256 x) {
  __m256 p = _mm256_set1_ps(coefficients[kDegree]);
  for (int k = kDegree - 1; k >= 0; --k) p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(coefficients[k]));
  return p;
}

inline __m256 magnitude(__m256 x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }

void gelu_tanh(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 v = load_some(x + i, n - i);
    const __m256 factor =
        _mm256_fmadd_ps(_mm256_mul_ps(v, v), _mm256_set1_ps(kGeluCubic), _mm256_set1_ps(kGeluLinear));
    const __m256 e = exp_kernel(_mm256_mul_ps(v, factor));
    store_some(x + i, n - i, _mm256_div_ps(v, _mm256_add_ps(_mm256_set1_ps(1.0f), e)));
  }
}

void gelu_erf(float* x, int64_t n) {
  const __m256 one = _mm256_set1_ps(1.0f);
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 v = load_some(x + i, n - i);
    const __m256 z = _mm256_mul_ps(magnitude(v), _mm256_set1_ps(kSqrtHalf));
    const __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(z, _mm256_set1_ps(kErfScale), one));
    const __m256 e = exp_kernel(_mm256_xor_ps(_mm256_mul_ps(z, z), _mm256_set1_ps(-0.0f)));
    const __m256 q = _mm256_mul_ps(_mm256_mul_ps(t, polynomial<4>(kErfCoefficients, t)), e);
    const __m256 tail = _mm256_mul_ps(v, q);
    const __m256 negative = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
    store_some(x + i, n - i, _mm256_blendv_ps(_mm256_sub_ps(v, tail), tail, negative));
  }
}

inline __m256 tanh_kernel(__m256 v) {
  const __m256 one = _mm256_set1_ps(1.0f), square = _mm256_mul_ps(v, v);
  const __m256 small = _mm256_fmadd_ps(_mm256_mul_ps(v, square), polynomial<4>(kTanhCoefficients, square), v);
  const __m256 e = exp_kernel(_mm256_mul_ps(v, _mm256_set1_ps(-2.0f)));
  const __m256 large = _mm256_div_ps(_mm256_sub_ps(one, e), _mm256_add_ps(one, e));
  return _mm256_blendv_ps(large, small, _mm256_cmp_ps(v, _mm256_set1_ps(kTanhSmall), _CMP_LE_OQ));
}

void soft_cap(float* x, int64_t n, float factor, float cap) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 y = _mm256_mul_ps(load_some(x + i, n - i), _mm256_set1_ps(factor));
    const __m256 capped = _mm256_mul_ps(_mm256_set1_ps(cap), tanh_kernel(magnitude(y)));
    store_some(x + i, n - i, _mm256_or_ps(magnitude(capped), _mm256_and_ps(sign, y)));
  }
}

inline float row_max(const float* x, int64_t n) {
  __m256 lanes = _mm256_set1_ps(x[0]);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) lanes = _mm256_max_ps(_mm256_loadu_ps(x + i), lanes);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  float max = _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

void softmax(float* x, int64_t n, float scale) {
  const __m256 max = _mm256_set1_ps(row_max(x, n));
  __m256 lanes[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int64_t i = 0; i < n; i += 16)
    for (int h = 0; h < 2; ++h) {
      const int64_t left = n - i - h * 8;
      const __m256 scaled =
          _mm256_mul_ps(_mm256_sub_ps(load_some(x + i + h * 8, left), max), _mm256_set1_ps(scale));
      const __m256 e = _mm256_and_ps(exp_kernel(scaled), _mm256_castsi256_ps(tail_mask(left)));
      store_some(x + i + h * 8, left, e);
      lanes[h] = _mm256_add_ps(lanes[h], e);
    }
  const __m256 inverse = _mm256_set1_ps(1.0f / sum_lanes(lanes[0], lanes[1]));
  for (int64_t i = 0; i < n; i += 8)
    store_some(x + i, n - i, _mm256_mul_ps(load_some(x + i, n - i), inverse));
}

void rope(float* x, const float* cosine, const float* sine, int64_t half) {
  for (int64_t i = 0; i < half; i += 8) {
    const int64_t left = half - i;
    const __m256 a = load_some(x + i, left), b = load_some(x + half + i, left);
    const __m256 c = load_some(cosine + i, left), s = load_some(sine + i, left);
    store_some(x + i, left, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
    store_some(x + half + i, left, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
  }
}

int64_t int8_peak(int64_t loops) {
  __m256i pairs[12] = {};
  for (int64_t i = 0; i < loops; ++i)
    for (auto& pair : pairs) asm volatile("vpmaddubsw %0, %0, %0" : "+x"(pair));
  return loops * 12 * 32;
}

}  // namespace

extern const KernelTable kTable;
const KernelTable kTable = {.isa = "avx2",
                            .required_features = kAvx2,
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

}  // namespace edgeq::isa::avx2
