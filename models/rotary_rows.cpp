// SPDX-License-Identifier: Apache-2.0
#include "models/rotary_rows.h"

#include <cstring>

namespace edgeq {
namespace {

template <class RowOf>
QuantizedTensor reorder(const QuantizedTensor& tensor, RowOf&& source_of) {
  std::vector<int64_t> rows(size_t(tensor.rows));
  for (int64_t r = 0; r < tensor.rows; ++r) rows[size_t(r)] = source_of(r);
  return select_rows(tensor, rows);
}

}  // namespace

int64_t interleaved_row(int64_t row, int64_t head_dim) {
  if (head_dim == 0) return row;
  const int64_t in_head = row % head_dim, half = head_dim / 2;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

int64_t half_split_row(int64_t row, int64_t head_dim) {
  if (head_dim == 0) return row;
  const int64_t in_head = row % head_dim;
  return row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
}

Tensor to_interleaved(Tensor ours, int64_t head_dim) {
  if (head_dim == 0) return ours;
  Tensor theirs(ours.dtype(), ours.shape());
  const int64_t rows = ours.shape()[0];
  const auto row_bytes = size_t(ours.bytes() / rows);
  for (int64_t r = 0; r < rows; ++r)
    std::memcpy(theirs.data() + size_t(r) * row_bytes,
                ours.data() + size_t(half_split_row(r, head_dim)) * row_bytes, row_bytes);
  return theirs;
}

QuantizedTensor to_interleaved(QuantizedTensor ours, int64_t head_dim) {
  if (head_dim == 0) return ours;
  return reorder(ours, [&](int64_t r) { return half_split_row(r, head_dim); });
}

}  // namespace edgeq
