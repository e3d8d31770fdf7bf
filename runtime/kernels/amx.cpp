// SPDX-License-Identifier: Apache-2.0
// AMX with AVX-512: a block of 32 columns of a panel is a tile of 8 rows of 64 bytes as it lies, 16 tokens'
// activations of the block are another, and one tdpbssd gives the 16 x 16 exact dot products. Panels are
// decoded to bytes once for up to kGroup tokens. Everything else, and what is too few tokens to fill a tile,
// is avx512vnni's.
#include <immintrin.h>

#include "runtime/kernels/avx512_codes.h"
#include "runtime/kernels/kernel_abi.h"

namespace edgeq::isa {

namespace avx512vnni {
extern const KernelTable kTable;
}

namespace amx {
namespace {

constexpr int64_t kTile = 16;         // tokens of a tile
constexpr int64_t kGroup = 64;        // tokens for which a panel is decoded once
constexpr int64_t kPassBlocks = 48;   // blocks of a panel decoded at once: 24 KiB, half a level-1 cache
constexpr int64_t kFewestTokens = 9;  // below, avx512vnni is as fast
constexpr int64_t kPrefetchBytes = 4096;

// Tiles by number: two of activations, two of weights, four of dot products.
enum Tile : int { kInput = 0, kWeights = 2, kDots = 4 };

// Palette 1 of ldtilecfg.
struct TileConfig {
  unsigned char palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  unsigned char rows[16];
};

// The intrinsics of GCC 12 name the first 8 bytes of what ldtilecfg reads and nothing of what tileloadd
// reads, so the compiler may leave out the stores that fill it.
inline void configure(int64_t tokens) {
  TileConfig config{};
  config.palette = 1;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = i < kWeights ? 32 : 64;
    config.rows[i] = i >= kWeights && i < kDots ? 8 : static_cast<unsigned char>(tokens);
  }
  asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
}

inline void release() { asm volatile("tilerelease" : : : "memory"); }

template <int kNumber>
inline void load_tile(const void* first_row, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(first_row), "r"(stride), "i"(kNumber));
}

// dots(kDot) = activations(kA) x weights(kB), stored as [token][row].
template <int kDot, int kA, int kB>
inline void multiply_tiles() {
  asm volatile("tilezero %%tmm%c0\n\ttdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kDot), "i"(kA), "i"(kB));
}

template <int kNumber>
inline void store_tile(int32_t* out) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(out), "r"(int64_t{64}), "i"(kNumber) : "memory");
}

// Some blocks of a panel, decoded: signed codes, less `bias`; what is left of the zero point; the scales of
// each block.
struct DecodedPanel {
  alignas(64) unsigned char codes[kPassBlocks][512];
  alignas(64) float scales[kPassBlocks][16], offsets[kPassBlocks][16];
  alignas(64) int32_t minus_zeros[kPassBlocks][16];
};

// Scales and sums of a group's tokens in some blocks: [tile][block][token], zero beyond the last token.
struct GroupInput {
  float scales[kGroup / kTile][kPassBlocks][kTile];
  int32_t sums[kGroup / kTile][kPassBlocks][kTile];
};

// What is taken off every code so that it is an int8: the zero point itself where it is one for all.
inline int bias_of(const KernelWeight& w) { return w.mid != 0 ? w.mid : w.bits == 8 ? 128 : 0; }

template <int kFormat, bool kCoded>
void decode_blocks(const KernelWeight& w, const unsigned char* panel, int64_t first, int64_t end,
                   DecodedPanel& out) {
  constexpr int kBits = bits_of(kFormat);
  const __m512i table = load_table(w);
  const int bias = bias_of(w);
  const __m512i biases = _mm512_set1_epi8(static_cast<char>(bias));
  const __m512i bias_pairs = _mm512_set1_epi32(bias);
  for (int64_t b = first; b < end; ++b) {
    const unsigned char* block = panel + b * 64 * kBits;
    for (int line = 0; line < kBits; ++line)
      _mm_prefetch(reinterpret_cast<const char*>(block + 64 * line + kPrefetchBytes), _MM_HINT_T0);
    __m512i codes[8];
    decode_block<kFormat>(block, table, codes);
    for (int k = 0; k < 8; ++k)
      _mm512_store_si512(out.codes[b - first] + 64 * k, _mm512_sub_epi8(codes[k], biases));
  }
  for (int64_t b = first, g = first / w.group_blocks; b < end; ++g) {
    const Group group = load_group<kCoded>(w, panel, g);
    const int64_t group_end = (g + 1) * w.group_blocks < end ? (g + 1) * w.group_blocks : end;
    const __m512i minus_zero =
        _mm512_and_si512(_mm512_add_epi32(group.minus_zero, bias_pairs), _mm512_set1_epi32(0xffff));
    for (; b < group_end; ++b) {
      _mm512_store_ps(out.scales[b - first], group.scale);
      _mm512_store_ps(out.offsets[b - first], group.offset);
      _mm512_store_si512(out.minus_zeros[b - first], minus_zero);
    }
  }
}

// What ends a block beyond y = fma(float(dot), x_scale * w_scale, y).
enum Ending { kPlain, kWithZero, kWithOffset };

// y[t] over one block more, from the dot products of a tile.
template <int kEnding, int kRows>
inline __attribute__((always_inline)) void add_block(const int32_t* dots, const DecodedPanel& panel,
                                                     int64_t b, const float* x_scales, const int32_t* sums,
                                                     __m512 (&y)[kRows]) {
  const __m512 scale = _mm512_load_ps(panel.scales[b]);
#pragma GCC unroll 16
  for (int t = 0; t < kRows; ++t) {
    __m512i dot = _mm512_load_si512(dots + t * 16);
    if constexpr (kEnding != kPlain) {
      const __m512i minus_zero = _mm512_load_si512(panel.minus_zeros[b]);
      dot = _mm512_add_epi32(dot, _mm512_madd_epi16(minus_zero, broadcast_i32(sums + t)));
    }
    const __m512 x_scale = _mm512_set1_ps(x_scales[t]);
    y[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(x_scale, scale), y[t]);
    if constexpr (kEnding == kWithOffset)
      y[t] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(broadcast_i32(sums + t)), x_scale),
                             _mm512_load_ps(panel.offsets[b]), y[t]);
  }
}

// One tile of tokens times `blocks` decoded blocks. Four blocks are on their way while the four before them
// are added, since a tile multiply takes as long as the additions of one block.
template <int kEnding, int kRows>
void multiply_tile(const DecodedPanel& panel, int64_t blocks, const int8_t* x, int64_t x_stride,
                   const float (*x_scales)[kTile], const int32_t (*sums)[kTile], int64_t tokens, bool first,
                   float* out, int64_t y_stride) {
  alignas(64) int32_t dots[8][kRows * 16];  // of block b at b % 8
  __m512 y[kRows];
#pragma GCC unroll 16
  for (int t = 0; t < kRows; ++t)
    y[t] = first || t >= tokens ? _mm512_setzero_ps() : _mm512_loadu_ps(out + t * y_stride);
  const auto start = [&]<int kNumber>(int64_t b) {
    load_tile<kInput + kNumber % 2>(x + b * 32, x_stride);
    load_tile<kWeights + kNumber % 2>(panel.codes[b], 64);
    multiply_tiles<kDots + kNumber, kInput + kNumber % 2, kWeights + kNumber % 2>();
  };
  int64_t b = 0;
  for (; b + 4 <= blocks; b += 4) {
    start.template operator()<0>(b);
    start.template operator()<1>(b + 1);
    if (b > 0) {
      add_block<kEnding>(dots[(b - 4) % 8], panel, b - 4, x_scales[b - 4], sums[b - 4], y);
      add_block<kEnding>(dots[(b - 3) % 8], panel, b - 3, x_scales[b - 3], sums[b - 3], y);
    }
    start.template operator()<2>(b + 2);
    start.template operator()<3>(b + 3);
    store_tile<kDots>(dots[b % 8]);
    store_tile<kDots + 1>(dots[(b + 1) % 8]);
    if (b > 0) {
      add_block<kEnding>(dots[(b - 2) % 8], panel, b - 2, x_scales[b - 2], sums[b - 2], y);
      add_block<kEnding>(dots[(b - 1) % 8], panel, b - 1, x_scales[b - 1], sums[b - 1], y);
    }
    store_tile<kDots + 2>(dots[(b + 2) % 8]);
    store_tile<kDots + 3>(dots[(b + 3) % 8]);
  }
  for (int64_t done = b >= 4 ? b - 4 : 0; done < b; ++done)
    add_block<kEnding>(dots[done % 8], panel, done, x_scales[done], sums[done], y);
  for (; b < blocks; ++b) {
    start.template operator()<0>(b);
    store_tile<kDots>(dots[b % 8]);
    add_block<kEnding>(dots[b % 8], panel, b, x_scales[b], sums[b], y);
  }
#pragma GCC unroll 16
  for (int t = 0; t < kRows; ++t)
    if (t < tokens) _mm512_storeu_ps(out + t * y_stride, y[t]);
}

using MultiplyTile = void (*)(const DecodedPanel&, int64_t, const int8_t*, int64_t, const float (*)[kTile],
                              const int32_t (*)[kTile], int64_t, bool, float*, int64_t);
// By ceil(tokens / 4).
template <int kEnding>
constexpr MultiplyTile kOfRows[5] = {nullptr, multiply_tile<kEnding, 4>, multiply_tile<kEnding, 8>,
                                     multiply_tile<kEnding, 12>, multiply_tile<kEnding, 16>};

using DecodeBlocks = void (*)(const KernelWeight&, const unsigned char*, int64_t, int64_t, DecodedPanel&);
template <bool kCoded>
constexpr DecodeBlocks kDecodeBlocks[10] = {nullptr,
                                            nullptr,
                                            decode_blocks<2, kCoded>,
                                            decode_blocks<3, kCoded>,
                                            decode_blocks<4, kCoded>,
                                            decode_blocks<5, kCoded>,
                                            decode_blocks<6, kCoded>,
                                            decode_blocks<7, kCoded>,
                                            decode_blocks<8, kCoded>,
                                            decode_blocks<kTable, kCoded>};

const MultiplyTile* multiply_tiles_of(const KernelWeight& w) {
  if (w.offsets >= 0) return kOfRows<kWithOffset>;
  return w.zeros >= 0 ? kOfRows<kWithZero> : kOfRows<kPlain>;
}

void load_group_input(const KernelInput& x, int64_t x_blocks, int64_t token, int64_t tokens, int64_t first,
                      int64_t end, GroupInput& out) {
  for (int64_t t = 0; t < (tokens + kTile - 1) / kTile * kTile; ++t)
    for (int64_t b = first; b < end; ++b) {
      const int64_t at = (token + t) * x_blocks + b;
      out.scales[t / kTile][b - first][t % kTile] = t < tokens ? x.scales[at] : 0;
      out.sums[t / kTile][b - first][t % kTile] = t < tokens ? x.sums[at] : 0;
    }
}

void matmul(const KernelWeight& w, const KernelInput& x, float* y, int64_t y_stride, int64_t panel_begin,
            int64_t panel_end) {
  if (x.tokens < kFewestTokens) {
    avx512vnni::kTable.matmul(w, x, y, y_stride, panel_begin, panel_end);
    return;
  }
  const DecodeBlocks decode = (w.scale_bytes == 1 ? kDecodeBlocks<true> : kDecodeBlocks<false>)[format_of(w)];
  const MultiplyTile* multiply = multiply_tiles_of(w);
  DecodedPanel decoded;
  GroupInput input;
  int64_t configured = 0;
  for (int64_t token = 0; token < x.tokens; token += kGroup) {
    const int64_t tokens = x.tokens - token < kGroup ? x.tokens - token : kGroup;
    for (int64_t first = 0; first < w.blocks; first += kPassBlocks) {
      const int64_t end = first + kPassBlocks < w.blocks ? first + kPassBlocks : w.blocks;
      load_group_input(x, w.blocks, token, tokens, first, end, input);
      for (int64_t p = panel_begin; p < panel_end; ++p) {
        decode(w, w.panels + p * w.panel_bytes, first, end, decoded);
        asm volatile("" : : : "memory");  // tile loads, of which the compiler knows nothing, see the codes
        for (int64_t t = 0; t < tokens; t += kTile) {
          const int64_t rows = tokens - t < kTile ? tokens - t : kTile;
          if (rows != configured) configure(configured = rows);
          multiply[(rows + 3) / 4](decoded, end - first, x.codes + ((token + t) * w.blocks + first) * 32,
                                   w.blocks * 32, input.scales[t / kTile], input.sums[t / kTile], rows,
                                   first == 0, y + (token + t) * y_stride + p * 16, y_stride);
        }
      }
    }
  }
  release();
}

// Whole tiles of 64 columns: twice what a block fills.
int64_t int8_peak(int64_t loops) {
  TileConfig config{};
  config.palette = 1;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = 64;
    config.rows[i] = 16;
  }
  asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
  for (int64_t i = 0; i < loops; ++i)
    asm volatile(
        "tdpbssd %%tmm1, %%tmm0, %%tmm4\n\ttdpbssd %%tmm2, %%tmm0, %%tmm5\n\t"
        "tdpbssd %%tmm1, %%tmm3, %%tmm6\n\ttdpbssd %%tmm2, %%tmm3, %%tmm7"
        :
        :);
  release();
  return loops * 4 * 16 * 16 * 64;
}

}  // namespace

extern const KernelTable kTable;
const KernelTable kTable = {
    .isa = "amx", .required_features = kAvx512Vnni | kAmxInt8, .matmul = matmul, .int8_peak = int8_peak};

}  // namespace amx
}  // namespace edgeq::isa
