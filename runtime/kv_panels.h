// SPDX-License-Identifier: Apache-2.0
// Keys or values of one KV head over one page of positions, in panels of 16 rows so that attention runs on
// the float matmul kernel:
//   keys    rows are the page's positions, columns the dimensions of a head
//   values  rows are dimensions, columns positions
// As floats (f32, f16): [panels][columns][16]. As codes: of every column, `group` neighbouring rows share a
// scale and an offset, x = scale * code + offset. So keys are quantized per channel and kKeyGroup positions,
// values per token and kValueGroup dimensions: outliers of keys lie in few channels, those of values do not
// (Liu et al., "KIVI", 2024). Per group
//   offset = the largest f16 not above min x,  scale = (max x - offset) / (2^bits - 1) rounded to f16,
//   code   = (x - offset) * (1 / scale) rounded to nearest, halves up, within [0, 2^bits - 1];
// a group with a value beyond f16's range, or a NaN, gets a NaN scale, so that it shows in every output.
// In memory: codes as KernelColumns has them, then f16 scales, then f16 offsets, each [groups][columns], the
// columns of codes padded to a multiple of 16.
#pragma once

#include <cstdint>

#include "models/kv_scheme.h"
#include "runtime/kernels/kernel_table.h"
#include "runtime/packed_matrix.h"

namespace edgeq {

class KvPanels {
 public:
  static constexpr int64_t kKeyGroup = 32, kValueGroup = 32;

  static KvPanels keys(KvType type, int64_t head_dim, int64_t positions);
  static KvPanels values(KvType type, int64_t head_dim, int64_t positions);

  bool coded() const { return has_codes(type_); }
  int64_t panels() const;
  int64_t bytes() const;           // a multiple of 64
  int64_t decoded_floats() const;  // of all panels

  // Stores one row, or one column; not for codes.
  void write_row(unsigned char* at, int64_t row, const float* values) const noexcept;
  void write_column(unsigned char* at, int64_t col, const float* values) const noexcept;
  // Codes of the f32 panels `floats` of the same rows and columns.
  void encode(const float* floats, unsigned char* at) const noexcept;
  // Panels [range.begin, range.end) for the float matmul, numbered as here: in place, or decoded into
  // `scratch`, the thread's own decoded_floats().
  KernelFloatWeight view(const KernelTable& kernels, const unsigned char* at, PanelRange range,
                         float* scratch) const noexcept;

 private:
  KvPanels(KvType type, int64_t rows, int64_t cols, int64_t group);
  int64_t code_cols() const;  // padded where there are codes
  int64_t groups() const;
  int64_t panel_bytes() const;
  void store_codes(const unsigned char* codes, int64_t col, unsigned char* panel) const noexcept;
  int64_t scales() const { return panels() * panel_bytes(); }  // where they begin
  int64_t offsets() const { return scales() + groups() * code_cols() * 2; }

  KvType type_;
  int64_t rows_, cols_, group_;  // group: a multiple of 16
};

}  // namespace edgeq
