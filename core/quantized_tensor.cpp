// SPDX-License-Identifier: Apache-2.0
#include "core/quantized_tensor.h"

#include <algorithm>

#include "core/bit_pack.h"
#include "core/error.h"

namespace edgeq {

QuantizedTensor::QuantizedTensor(const QuantScheme& scheme_in, int64_t rows_in, int64_t cols_in)
    : scheme(scheme_in), rows(rows_in), cols(cols_in) {
  check_columns(scheme, cols);
  const auto per_group = size_t(rows * groups());
  codes.resize(size_t(rows * row_bytes()));
  if (scheme.zero == Zero::integer) zeros.resize(per_group);
  if (scheme.two_level()) {
    scale_codes.resize(per_group);
    outer_scales.resize(size_t(rows * scheme.outers(cols)));
    if (scheme.zero != Zero::offset) return;
    offset_codes.resize(per_group);
    outer_offsets.resize(outer_scales.size());
  } else {
    scales.resize(per_group);
    if (scheme.zero == Zero::offset) offsets.resize(per_group);
  }
}

size_t QuantizedTensor::outer_at(int64_t r, int64_t g) const {
  return size_t(r * scheme.outers(cols) + g * scheme.group_size(cols) / scheme.outer_size(cols));
}

float QuantizedTensor::scale(int64_t r, int64_t g) const {
  const auto at = size_t(r * groups() + g);
  return scheme.two_level() ? outer_scales[outer_at(r, g)] * float(scale_codes[at]) : scales[at];
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
  if (scheme.zero != Zero::offset) return 0;
  const auto at = size_t(r * groups() + g);
  return scheme.two_level() ? -(outer_offsets[outer_at(r, g)] * float(offset_codes[at])) : offsets[at];
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
  return int64_t(codes.size()) + rows * scheme.side_bits(cols) / 8;
}

void dequantize_group(const QuantScheme& scheme, const GroupValues& group, std::span<const uint8_t> codes,
                      float* out) {
  for (size_t i = 0; i < codes.size(); ++i) out[i] = group.scale * float(scheme.level(codes[i]) - group.zero);
  if (scheme.zero != Zero::offset) return;  // not + 0, which would turn -0 into +0
  for (size_t i = 0; i < codes.size(); ++i) out[i] += group.offset;
}

QuantizedTensor select_rows(const QuantizedTensor& q, std::span<const int64_t> rows) {
  QuantizedTensor selected(q.scheme, int64_t(rows.size()), q.cols);
  // Every table of a weight has the same number of entries for each row.
  const auto select = [&](const auto& from, auto& to) {
    const size_t width = from.size() / size_t(q.rows);
    for (size_t r = 0; r < rows.size(); ++r)
      std::copy_n(from.begin() + rows[r] * int64_t(width), width, to.begin() + int64_t(r * width));
  };
  for_each_array([&](const char*, auto array) { select(q.*array, selected.*array); });
  return selected;
}

void dequantize_row(const QuantizedTensor& q, int64_t row, std::span<uint8_t> codes, float* out) {
  q.get_codes(row, codes);
  const int64_t group = q.scheme.group_size(q.cols);
  for (int64_t g = 0; g < q.groups(); ++g)
    dequantize_group(q.scheme, {q.scale(row, g), q.zero(row, g), q.offset(row, g)},
                     codes.subspan(size_t(g * group), size_t(group)), out + g * group);
}

void dequantize_into(const QuantizedTensor& q, MatrixView<float> out) {
  EDGEQ_CHECK(out.rows == q.rows && out.cols == q.cols, "dequantize_into gets a matrix of the same shape");
  std::vector<uint8_t> codes(size_t(q.cols));
  for (int64_t r = 0; r < q.rows; ++r) dequantize_row(q, r, codes, out.row(r));
}

}  // namespace edgeq
