// SPDX-License-Identifier: Apache-2.0
// A quantized weight in canonical form: the one meaning that every format, kernel and report agrees on.
//   mid:      w[r,c] = scale[r,g] * (code[r,c] - 2^(bits-1))
//   integer:  w[r,c] = scale[r,g] * (code[r,c] - zero[r,g])
//   offset:   w[r,c] = scale[r,g] * code[r,c] + offset[r,g]          with g = c / group
// Codes are the truth. Scales and offsets are held as floats that are exactly representable in the scheme's
// store; they may be negative.
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
  std::vector<float> scales;   // [rows, groups]
  std::vector<uint8_t> zeros;  // [rows, groups] for Zero::integer, else empty
  std::vector<float> offsets;  // [rows, groups] for Zero::offset, else empty

  QuantizedTensor() = default;
  // All codes, scales and zeros 0. Throws Error when the group does not divide `cols`.
  QuantizedTensor(const QuantScheme& scheme, int64_t rows, int64_t cols);

  int64_t groups() const { return scheme.groups(cols); }
  int64_t row_bytes() const { return (cols * scheme.bits + 7) / 8; }
  float scale(int64_t r, int64_t g) const { return scales[size_t(r * groups() + g)]; }
  // Zero point of a group as a number (mid code for symmetric schemes, 0 for offset schemes).
  int zero(int64_t r, int64_t g) const;
  float offset(int64_t r, int64_t g) const;

  void get_codes(int64_t row, std::span<uint8_t> out) const;  // out: cols codes
  void set_codes(int64_t row, std::span<const uint8_t> in);

  // Bytes that a file needs for codes, scales, zeros and offsets in their stored types, without padding.
  int64_t stored_bytes() const;

  friend bool operator==(const QuantizedTensor&, const QuantizedTensor&) = default;
};

// A weight whose row r is row rows[r] of `q`: codes and scales move together.
QuantizedTensor select_rows(const QuantizedTensor& q, std::span<const int64_t> rows);

// The one definition of dequantization. out: [rows, cols].
void dequantize_into(const QuantizedTensor& q, MatrixView<float> out);
// One row; `codes` is scratch of cols entries.
void dequantize_row(const QuantizedTensor& q, int64_t row, std::span<uint8_t> codes, float* out);

}  // namespace edgeq
