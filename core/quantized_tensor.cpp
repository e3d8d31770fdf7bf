// SPDX-License-Identifier: Apache-2.0
#include "core/quantized_tensor.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/bit_pack.h"
#include "core/error.h"

namespace edgeq {

QuantizedTensor::QuantizedTensor(const QuantScheme& scheme_in, int64_t rows_in, int64_t cols_in)
    : scheme(scheme_in), rows(rows_in), cols(cols_in) {
  if (scheme.group != 0 && cols % scheme.group != 0)
    throw Error(fmt::format("group {} does not divide {} columns", scheme.group, cols));
  codes.resize(size_t(rows * row_bytes()));
  scales.resize(size_t(rows * groups()));
  if (scheme.zero == Zero::integer) zeros.resize(scales.size());
  if (scheme.zero == Zero::offset) offsets.resize(scales.size());
}

int QuantizedTensor::zero(int64_t r, int64_t g) const {
  switch (scheme.zero) {
    case Zero::mid: return scheme.mid_code();
    case Zero::integer: return zeros[size_t(r * groups() + g)];
    case Zero::offset: return 0;
  }
  return 0;
}

float QuantizedTensor::offset(int64_t r, int64_t g) const {
  return offsets.empty() ? 0.0f : offsets[size_t(r * groups() + g)];
}

void QuantizedTensor::get_codes(int64_t row, std::span<uint8_t> out) const {
  EDGEQ_CHECK(int64_t(out.size()) == cols, "get_codes fills one row");
  unpack_bits(std::span(codes).subspan(size_t(row * row_bytes()), size_t(row_bytes())), scheme.bits, out);
}

void QuantizedTensor::set_codes(int64_t row, std::span<const uint8_t> in) {
  EDGEQ_CHECK(int64_t(in.size()) == cols, "set_codes takes one row");
  pack_bits(in, scheme.bits, std::span(codes).subspan(size_t(row * row_bytes()), size_t(row_bytes())));
}

int64_t QuantizedTensor::stored_bytes() const {
  const int64_t per_float = scheme.store == ScaleStore::f16 ? 2 : 4;
  return int64_t(codes.size()) + int64_t(scales.size() + offsets.size()) * per_float + int64_t(zeros.size());
}

QuantizedTensor select_rows(const QuantizedTensor& q, std::span<const int64_t> rows) {
  QuantizedTensor selected(q.scheme, int64_t(rows.size()), q.cols);
  // Every table of a weight has the same number of entries for each row.
  const auto select = [&](const auto& from, auto& to) {
    const size_t width = from.size() / size_t(q.rows);
    for (size_t r = 0; r < rows.size(); ++r)
      std::copy_n(from.begin() + rows[r] * int64_t(width), width, to.begin() + int64_t(r * width));
  };
  select(q.codes, selected.codes);
  select(q.scales, selected.scales);
  select(q.zeros, selected.zeros);
  select(q.offsets, selected.offsets);
  return selected;
}

void dequantize_row(const QuantizedTensor& q, int64_t row, std::span<uint8_t> codes, float* out) {
  q.get_codes(row, codes);
  const int64_t group = q.scheme.group_size(q.cols);
  for (int64_t g = 0; g < q.groups(); ++g) {
    const float scale = q.scale(row, g), offset = q.offset(row, g);
    const int zero = q.zero(row, g);
    for (int64_t c = g * group; c < (g + 1) * group; ++c)
      out[c] = scale * float(codes[size_t(c)] - zero) + offset;
  }
}

void dequantize_into(const QuantizedTensor& q, MatrixView<float> out) {
  EDGEQ_CHECK(out.rows == q.rows && out.cols == q.cols, "dequantize_into gets a matrix of the same shape");
  std::vector<uint8_t> codes(size_t(q.cols));
  for (int64_t r = 0; r < q.rows; ++r) dequantize_row(q, r, codes, out.row(r));
}

}  // namespace edgeq
