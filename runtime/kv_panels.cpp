// SPDX-License-Identifier: Apache-2.0
#include "runtime/kv_panels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/half.h"
#include "formats/panels.h"
#include "runtime/aligned_buffer.h"

namespace edgeq {
namespace {

constexpr float kF16Max = 65504;
constexpr uint16_t kF16Nan = 0x7e00;

// The largest f16 that is not above `value`, which lies within [-kF16Max, kF16Max].
uint16_t f16_not_above(float value) {
  const uint16_t nearest = f32_to_f16(value);
  if (f16_to_f32(nearest) <= value) return nearest;
  // One step down: towards zero for a positive number, away from it for a negative one.
  return (nearest & 0x7fffu) == 0 ? uint16_t(0x8001)
                                  : uint16_t(nearest + ((nearest & 0x8000u) != 0 ? 1 : -1));
}

struct Grid {
  uint16_t scale = kF16Nan, offset = 0;
};

// Of one column of a group: rows in panels that lie `stride` floats apart.
Grid choose_grid(const float* column, int64_t rows, int64_t stride, float levels) {
  float low[kPanelRows], high[kPanelRows];
  std::fill_n(low, kPanelRows, column[0]);
  std::fill_n(high, kPanelRows, column[0]);
  bool fits = true;
  for (int64_t first = 0; first < rows; first += kPanelRows, column += stride)
    for (int64_t r = 0; r < std::min(kPanelRows, rows - first); ++r) {
      low[r] = std::min(low[r], column[r]);
      high[r] = std::max(high[r], column[r]);
      fits &= std::abs(column[r]) <= kF16Max;
    }
  if (!fits) return {};
  const uint16_t offset = f16_not_above(*std::min_element(low, low + kPanelRows));
  const float span = *std::max_element(high, high + kPanelRows) - f16_to_f32(offset);
  return {f32_to_f16(span / levels), offset};
}

// Neighbours of a row lie a panel's width apart.
template <class Element, class Convert>
void scatter(const float* values, int64_t count, Element* out, const Convert& convert) {
  for (int64_t i = 0; i < count; ++i) out[i * kPanelRows] = convert(values[i]);
}

}  // namespace

KvPanels::KvPanels(KvType type, int64_t rows, int64_t cols, int64_t group)
    : type_(type), rows_(rows), cols_(cols), group_(group) {}

KvPanels KvPanels::keys(KvType type, int64_t head_dim, int64_t positions) {
  return {type, positions, head_dim, kKeyGroup};
}

KvPanels KvPanels::values(KvType type, int64_t head_dim, int64_t positions) {
  return {type, head_dim, positions, kValueGroup};
}

int64_t KvPanels::panels() const { return (rows_ + kPanelRows - 1) / kPanelRows; }
int64_t KvPanels::groups() const { return (rows_ + group_ - 1) / group_; }
int64_t KvPanels::code_cols() const { return coded() ? round_up(cols_, 16) : cols_; }
int64_t KvPanels::panel_bytes() const { return code_cols() * kPanelRows * kv_bits(type_) / 8; }
int64_t KvPanels::decoded_floats() const { return panels() * kPanelRows * code_cols(); }
int64_t KvPanels::bytes() const {
  return round_up(coded() ? offsets() + groups() * code_cols() * 2 : panels() * panel_bytes(), 64);
}

void KvPanels::write_row(unsigned char* at, int64_t row, const float* values) const noexcept {
  const int64_t first = row / kPanelRows * cols_ * kPanelRows + row % kPanelRows;
  if (type_ == KvType::f32) {
    scatter(values, cols_, reinterpret_cast<float*>(at) + first, [](float value) { return value; });
  } else {
    scatter(values, cols_, reinterpret_cast<uint16_t*>(at) + first, f32_to_f16);
  }
}

void KvPanels::write_column(unsigned char* at, int64_t col, const float* values) const noexcept {
  for (int64_t row = 0; row < rows_; row += kPanelRows) {
    const int64_t first = (row / kPanelRows * cols_ + col) * kPanelRows;
    const int64_t count = std::min(kPanelRows, rows_ - row);
    if (type_ == KvType::f32) {
      std::copy_n(values + row, count, reinterpret_cast<float*>(at) + first);
    } else {
      std::transform(values + row, values + row + count, reinterpret_cast<uint16_t*>(at) + first, f32_to_f16);
    }
  }
}

void KvPanels::encode(const float* floats, unsigned char* at) const noexcept {
  const int64_t stride = cols_ * kPanelRows;
  const auto levels = float((1 << kv_bits(type_)) - 1);
  for (int64_t first = 0, g = 0; first < rows_; first += group_, ++g)
    for (int64_t c = 0; c < cols_; ++c) {
      const int64_t rows = std::min(group_, rows_ - first), index = g * code_cols() + c;
      const float* column = floats + first / kPanelRows * stride + c * kPanelRows;
      const Grid grid = choose_grid(column, rows, stride, levels);
      std::memcpy(at + scales() + index * 2, &grid.scale, 2);
      std::memcpy(at + offsets() + index * 2, &grid.offset, 2);
      const float scale = f16_to_f32(grid.scale), offset = f16_to_f32(grid.offset);
      const float inverse = scale > 0 ? 1 / scale : 0;
      for (int64_t r = 0; r < rows; r += kPanelRows, column += stride) {
        unsigned char codes[kPanelRows] = {};
        const int64_t lanes =
            inverse == 0 ? 0 : std::min(kPanelRows, rows - r);  // none where nothing is finite
        for (int64_t i = 0; i < lanes; ++i) {
          const float steps = std::clamp((column[i] - offset) * inverse, 0.0f, levels);
          // NOLINTNEXTLINE(bugprone-incorrect-roundings): not negative, halves up, and it vectorizes
          codes[i] = static_cast<unsigned char>(steps + 0.5f);
        }
        store_codes(codes, c, at + (first + r) / kPanelRows * panel_bytes());
      }
    }
}

void KvPanels::store_codes(const unsigned char* codes, int64_t col, unsigned char* panel) const noexcept {
  if (type_ == KvType::int8) {
    std::copy_n(codes, kPanelRows, panel + col * kPanelRows);
    return;
  }
  unsigned char* pair = panel + col / 2 * kPanelRows;
  for (int64_t r = 0; r < kPanelRows; ++r)
    pair[r] = static_cast<unsigned char>(col % 2 == 0 ? codes[r] : pair[r] | codes[r] << 4);
}

KernelFloatWeight KvPanels::view(const KernelTable& kernels, const unsigned char* at, PanelRange range,
                                 float* scratch) const noexcept {
  if (!coded())
    return {
        .panels = at, .panel_bytes = panel_bytes(), .cols = cols_, .element = type_ == KvType::f32 ? 0 : 1};
  const int64_t panel_floats = code_cols() * kPanelRows;
  for (int64_t p = range.begin; p < range.end; ++p) {
    const int64_t grid = p * kPanelRows / group_ * code_cols() * 2;
    kernels.decode_columns({.codes = at + p * panel_bytes(),
                            .scales = at + scales() + grid,
                            .offsets = at + offsets() + grid,
                            .cols = code_cols(),
                            .bits = kv_bits(type_)},
                           scratch + p * panel_floats);
  }
  return {.panels = reinterpret_cast<const unsigned char*>(scratch),
          .panel_bytes = panel_floats * int64_t(sizeof(float)),
          .cols = cols_,
          .element = 0};
}

}  // namespace edgeq
