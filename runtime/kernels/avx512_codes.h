// SPDX-License-Identifier: Apache-2.0
// How AVX-512 reads the codes and scales of a panel (formats/panels.h): one zmm register is 16 rows by 4
// columns. For the ISA files that have AVX-512 and for nothing else: all of it is in an unnamed namespace, so
// that nothing compiled for these CPUs can be merged into common code.
#pragma once

#include <immintrin.h>

#include "runtime/kernels/kernel_abi.h"

namespace edgeq::isa {
namespace {

// How codes lie: 2..8 bits, or kTable: 4 bits that look up a level.
constexpr int kTable = 9;
constexpr int bits_of(int format) { return format == kTable ? 4 : format; }
inline int format_of(const KernelWeight& w) { return w.levels == nullptr ? w.bits : kTable; }

inline __m512i broadcast_i32(const void* p) {
  int32_t value;
  __builtin_memcpy(&value, p, 4);
  return _mm512_set1_epi32(value);
}

// scale, offset and zero point of one group of a panel, one row per lane.
struct Group {
  __m512 scale, offset;  // no offset: -0, which added changes nothing
  __m512i minus_zero;    // as pairs of int16 (-zero, 0), for a multiply by the block's sum, |sum| <= 32 * 127
};

inline __m512 load_scales(const unsigned char* p, int32_t scale_bytes) {
  if (scale_bytes == 4) return _mm512_loadu_ps(p);
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

// The 16 codes at `codes` times the outer scales at `outer`.
inline __m512 coded_scales(const unsigned char* codes, const unsigned char* outer) {
  const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
  return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(raw)), _mm512_loadu_ps(outer));
}

// kCoded, scale codes under an outer scale, is a constant: as a question for each group it cost the int8
// path 10 % of a prefill.
template <bool kCoded>
inline Group load_group(const KernelWeight& w, const unsigned char* panel, int64_t group) {
  Group g;
  if constexpr (kCoded) {
    const int64_t at = group * 16, outer = (group >> w.outer_shift) * 64;
    g.scale = coded_scales(panel + w.scales + at, panel + w.outer_scales + outer);
    g.offset = _mm512_set1_ps(-0.0f);
    if (w.offsets >= 0)
      g.offset =
          _mm512_xor_ps(coded_scales(panel + w.offsets + at, panel + w.outer_offsets + outer), g.offset);
  } else {
    const int64_t at = group * 16 * w.scale_bytes;
    g.scale = load_scales(panel + w.scales + at, w.scale_bytes);
    g.offset = w.offsets < 0 ? _mm512_set1_ps(-0.0f) : load_scales(panel + w.offsets + at, w.scale_bytes);
  }
  const __m512i zero = w.zeros < 0 ? _mm512_set1_epi32(w.mid)
                                   : _mm512_cvtepu8_epi32(_mm_loadu_si128(
                                         reinterpret_cast<const __m128i*>(panel + w.zeros + group * 16)));
  g.minus_zero = _mm512_and_si512(_mm512_sub_epi32(_mm512_setzero_si512(), zero), _mm512_set1_epi32(0xffff));
  return g;
}

// Adds the plane of kPlane bits at `codes` to the codes of a block, at bit kShift.
template <int kPlane, int kShift>
inline void decode_plane(const unsigned char* codes, __m512i out[8]) {
  const __m512i mask = _mm512_set1_epi8(static_cast<char>(((1 << kPlane) - 1) << kShift));
  for (int j = 0; j < kPlane; ++j) {
    const __m512i raw = _mm512_loadu_si512(codes + 64 * j);
    for (int field = 0; field < 8 / kPlane; ++field) {
      const int shift = kShift - field * kPlane;
      const __m512i moved = shift == 0  ? raw
                            : shift > 0 ? _mm512_slli_epi16(raw, static_cast<unsigned>(shift))
                                        : _mm512_srli_epi16(raw, static_cast<unsigned>(-shift));
      __m512i& code = out[field * kPlane + j];
      code = kShift == 0 ? _mm512_and_si512(moved, mask)
                         : _mm512_ternarylogic_epi32(moved, mask, code, 0xea);  // (moved & mask) | code
    }
  }
}

// For decode_block: level + 128 of each code.
inline __m512i load_table(const KernelWeight& w) {
  if (w.levels == nullptr) return _mm512_setzero_si512();
  const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w.levels));
  return _mm512_xor_si512(_mm512_broadcast_i32x4(levels), _mm512_set1_epi8(static_cast<char>(0x80)));
}

// The codes of one block of 32 columns as bytes: out[column / 4], 16 rows x 4 columns each.
template <int kFormat>
inline void decode_block(const unsigned char* codes, __m512i table, __m512i out[8]) {
  constexpr int kBits = bits_of(kFormat);
  if constexpr (kBits == 8) {
    for (int j = 0; j < 8; ++j) out[j] = _mm512_loadu_si512(codes + 64 * j);
    return;
  }
  if constexpr ((kBits & 4) != 0) decode_plane<4, 0>(codes, out);
  if constexpr ((kBits & 2) != 0) decode_plane<2, kBits & 4>(codes + (kBits & 4) * 64, out);
  if constexpr ((kBits & 1) != 0) decode_plane<1, kBits & 6>(codes + (kBits & 6) * 64, out);
  if constexpr (kFormat == kTable)
    for (int j = 0; j < 8; ++j) out[j] = _mm512_shuffle_epi8(table, out[j]);
}

}  // namespace
}  // namespace edgeq::isa
