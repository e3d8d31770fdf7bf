// SPDX-License-Identifier: Apache-2.0
// A quantized weight in canonical form: the one meaning that every format, kernel and report agrees on.
//   w[r,c] = scale[r,g] * (level(code[r,c]) - zero[r,g]) + offset[r,g]          with g = c / group
//   mid:      zero = 2^(bits-1), or 0 for a table; no offset
//   integer:  zero per group; no offset
//   offset:   zero = 0
// Codes are the truth: those of the weights and, for two-level stores, those of the scales and offsets,
//   scale[r,g]  =  outer_scale[r,o] * scale_code[r,g]           with o = c / outer_size
//   offset[r,g] = -outer_offset[r,o] * offset_code[r,g]
// each product rounded to f32 (those of the f16 outer scales are exact). Scales and offsets that are stored
// as floats are held as floats that are exactly representable in the scheme's store. All may be negative.
// Dequantizing equals ggml bit for bit for the schemes that are its block types.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/quant_scheme.h"
#include "core/tensor.h"

namespace edgeq {

struct QuantizedTensor {
  QuantScheme scheme;
  int64_t rows = 0, cols = 0;
  std::vector<uint8_t> codes;  // row by row, each row starting on a byte: rows * row_bytes()
  std::vector<uint8_t> zeros;  // [rows, groups] for Zero::integer, else empty
  // Flat stores, else empty.
  std::vector<float> scales;   // [rows, groups]
  std::vector<float> offsets;  // [rows, groups] for Zero::offset, else empty
  // Two-level stores, else empty.
  std::vector<int8_t> scale_codes;   // [rows, groups]; u6_super: 0..63
  std::vector<int8_t> offset_codes;  // [rows, groups] for u6_super, 0..63
  std::vector<float> outer_scales;   // [rows, outers]
  std::vector<float> outer_offsets;  // [rows, outers] for u6_super

  QuantizedTensor() = default;
  // All codes, scales and zeros 0. Throws Error when groups or super-blocks do not divide `cols`.
  QuantizedTensor(const QuantScheme& scheme, int64_t rows, int64_t cols);

  int64_t groups() const { return scheme.groups(cols); }
  int64_t row_bytes() const { return (cols * scheme.bits + 7) / 8; }
  float scale(int64_t r, int64_t g) const;
  // Zero point of a group as a number (mid code for symmetric schemes, 0 for offset schemes).
  int zero(int64_t r, int64_t g) const;
  float offset(int64_t r, int64_t g) const;
  // Where the outer scale of group g of row r lies.
  size_t outer_at(int64_t r, int64_t g) const;

  void get_codes(int64_t row, std::span<uint8_t> out) const;  // out: cols codes
  void set_codes(int64_t row, std::span<const uint8_t> in);

  // Bytes that a file needs for codes, scales, zeros and offsets in their stored types, without padding.
  int64_t stored_bytes() const;

  friend bool operator==(const QuantizedTensor&, const QuantizedTensor&) = default;
};

// Calls visit(name, member) for each of the arrays above, for what keeps or moves a weight as it is.
template <class Visit>
void for_each_array(Visit&& visit) {
  visit("codes", &QuantizedTensor::codes);
  visit("zeros", &QuantizedTensor::zeros);
  visit("scales", &QuantizedTensor::scales);
  visit("offsets", &QuantizedTensor::offsets);
  visit("scale_codes", &QuantizedTensor::scale_codes);
  visit("offset_codes", &QuantizedTensor::offset_codes);
  visit("outer_scales", &QuantizedTensor::outer_scales);
  visit("outer_offsets", &QuantizedTensor::outer_offsets);
}

// A weight whose row r is row rows[r] of `q`: codes and scales move together.
QuantizedTensor select_rows(const QuantizedTensor& q, std::span<const int64_t> rows);

// Scale, zero and offset of one group as numbers.
struct GroupValues {
  float scale;
  int zero;
  float offset;  // read for Zero::offset only
};

// The one definition of dequantization: one group, a row, a tensor.
void dequantize_group(const QuantScheme& scheme, const GroupValues& group, std::span<const uint8_t> codes,
                      float* out);
// `codes` is scratch of cols entries.
void dequantize_row(const QuantizedTensor& q, int64_t row, std::span<uint8_t> codes, float* out);
void dequantize_into(const QuantizedTensor& q, MatrixView<float> out);  // out: [rows, cols]

}  // namespace edgeq
