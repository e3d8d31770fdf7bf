// SPDX-License-Identifier: Apache-2.0
// What the codes of a quantized weight mean; never how they were found (that is a Quantizer). Scheme and
// method are orthogonal.
//
// Text form:  int<bits>-g<group>|channel-sym|asym|offset[-f16|-f32]
//   int4-g64-sym      4-bit codes, one f16 scale per 64 columns, zero point fixed at the middle code
//   int4-g32-asym     an integer zero point per group beside the scale
//   int4-g32-offset   a float offset per group beside the scale: w = s * code + o
//   int8-channel-sym  one f32 scale per row (output channel)
// The scale store defaults to f16 for groups and f32 for whole rows. Names of GGUF blocks are accepted for
// the schemes that are equal to them: q4_0 = int4-g32-sym, q4_1 = int4-g32-offset, q8_0 = int8-g32-sym.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace edgeq {

enum class Zero : uint8_t {
  mid,      // symmetric: zero point 2^(bits-1) for every group
  integer,  // asymmetric: an integer zero point per group, in [0, 2^bits - 1]
  offset,   // asymmetric: a float offset per group, stored as the scale is
};
enum class ScaleStore : uint8_t { f16, f32 };

struct QuantScheme {
  int bits = 4;       // 2..8
  int64_t group = 0;  // columns that share a scale; 0 = the whole row
  Zero zero = Zero::mid;
  ScaleStore store = ScaleStore::f16;

  int max_code() const { return (1 << bits) - 1; }
  // Lowest code a quantizer may use: symmetric 8-bit leaves code 0 (-128) out, so that +-127 is balanced as
  // in Q8_0 and int8 hardware paths; narrower symmetric grids use every code (-8..7 at 4 bits).
  int min_code() const { return zero == Zero::mid && bits == 8 ? 1 : 0; }
  int mid_code() const { return 1 << (bits - 1); }
  int64_t group_size(int64_t cols) const { return group == 0 ? cols : group; }
  int64_t groups(int64_t cols) const { return group == 0 ? 1 : cols / group; }
  // Bits per weight of a row with `cols` columns: codes, scales and zeros or offsets.
  double bits_per_weight(int64_t cols) const;

  friend bool operator==(const QuantScheme&, const QuantScheme&) = default;
};

std::string scheme_text(const QuantScheme& scheme);
// Throws Error naming the text and the grammar.
QuantScheme parse_scheme(std::string_view text);

// A scale or offset as the scheme's file stores it.
float round_to_store(float value, ScaleStore store);

}  // namespace edgeq
