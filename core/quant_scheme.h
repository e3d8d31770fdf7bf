// SPDX-License-Identifier: Apache-2.0
// What the codes of a quantized weight mean; never how they were found (that is a Quantizer). Scheme and
// method are orthogonal.
//
// Text form:  int<bits>-g<group>|channel-sym|asym|offset[-f16|-f32]
//             int<bits>-g<group>[-asym]-s8
//             iq4nl-g<group>|channel[-f16|-f32|-s8]
//   int4-g64-sym      4-bit codes, one f16 scale per 64 columns, zero point fixed at the middle code
//   int4-g32-asym     an integer zero point per group beside the scale
//   int4-g32-offset   a float offset per group beside the scale: w = s * code + o
//   int8-channel-sym  one f32 scale per row (output channel)
//   int4-g32-s8       symmetric; the scale of a group is a signed 8-bit code times an f32 scale of its row
//   iq4nl-g32         4-bit codes that look up one of 16 unevenly spaced levels, finer around zero
// The scale store defaults to f16 for groups and f32 for whole rows. Names of GGUF blocks are accepted for
// the schemes that are equal to them: q4_0 = int4-g32-sym, q4_1 = int4-g32-offset, q5_0 = int5-g32-sym,
// q5_1 = int5-g32-offset, q8_0 = int8-g32-sym, iq4_nl = iq4nl-g32; q4_k, q5_k and q6_k have no other name.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace edgeq {

// From a code to a level; a weight is scale * (level - zero) + offset.
enum class Levels : uint8_t {
  uniform,  // the code itself
  iq4nl,    // kIq4nlLevels[code], 4 bits only
};
// The table of ggml's IQ4_NL and IQ4_XS (ggml-common.h, kvalues_iq4nl).
inline constexpr std::array<int8_t, 16> kIq4nlLevels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                        1,    13,   25,  38,  53,  69,  89,  113};

enum class Zero : uint8_t {
  mid,      // symmetric: zero point 2^(bits-1) for every group; 0 for a table, whose levels are signed
  integer,  // asymmetric: an integer zero point per group, in [0, 2^bits - 1]
  offset,   // asymmetric: a float offset per group, stored as the scale is
};

// How scales are stored. Flat: one float per group. Two-level: an integer code per group times an outer scale
// that many groups share; the product, rounded to f32, is the group's scale.
enum class ScaleStore : uint8_t {
  f16,
  f32,
  s8_row,    // int8 code per group, f32 outer scale per row. f32, because the outer scale of a table of +-127
             // is below what f16 resolves, and because 16 rows of a panel then fill one 64-byte line
  u6_super,  // Q4_K, Q5_K: codes 0..63 for scales and for offsets, which are subtracted; f16 outer scale and
             // f16 outer offset per 256 columns
  s8_super,  // Q6_K: int8 code per 16 columns, f16 outer scale per 256
};

inline constexpr int64_t kSuperBlock = 256;  // columns that share an outer scale of the super-block stores

struct QuantScheme {
  Levels levels = Levels::uniform;
  int bits = 4;       // 2..8
  int64_t group = 0;  // columns that share a scale; 0 = the whole row
  Zero zero = Zero::mid;
  ScaleStore store = ScaleStore::f16;

  int max_code() const { return (1 << bits) - 1; }
  // Lowest code a quantizer may use: symmetric 8-bit leaves code 0 (-128) out, so that +-127 is balanced as
  // in Q8_0 and int8 hardware paths; narrower symmetric grids use every code (-8..7 at 4 bits).
  int min_code() const { return zero == Zero::mid && bits == 8 ? 1 : 0; }
  // The zero point of symmetric schemes.
  int mid_code() const { return levels == Levels::uniform ? 1 << (bits - 1) : 0; }
  int level(int code) const { return levels == Levels::uniform ? code : kIq4nlLevels[size_t(code)]; }

  int64_t group_size(int64_t cols) const { return group == 0 ? cols : group; }
  int64_t groups(int64_t cols) const { return group == 0 ? 1 : cols / group; }
  bool two_level() const { return store != ScaleStore::f16 && store != ScaleStore::f32; }
  bool super_blocks() const { return store == ScaleStore::u6_super || store == ScaleStore::s8_super; }
  // Columns that share an outer scale. Two-level stores only.
  int64_t outer_size(int64_t cols) const { return super_blocks() ? kSuperBlock : cols; }
  int64_t outers(int64_t cols) const { return cols / outer_size(cols); }

  // Bits of a row with `cols` columns beside its codes: scales, zeros and offsets. Whole bytes.
  int64_t side_bits(int64_t cols) const;
  // Bits per weight of such a row: codes, scales and zeros or offsets.
  double bits_per_weight(int64_t cols) const;

  friend bool operator==(const QuantScheme&, const QuantScheme&) = default;
};

// Throws Error unless groups and super-blocks divide a row of `cols` columns.
void check_columns(const QuantScheme& scheme, int64_t cols);

std::string scheme_text(const QuantScheme& scheme);
// Throws Error naming the text and the grammar.
QuantScheme parse_scheme(std::string_view text);

// A flat scale or offset, or an outer one of a two-level store, as the scheme's file stores it.
float round_to_store(float value, ScaleStore store);

}  // namespace edgeq
