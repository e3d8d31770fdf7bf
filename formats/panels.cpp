// SPDX-License-Identifier: Apache-2.0
#include "formats/panels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/half.h"

namespace edgeq {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kMaxSide = int64_t(1) << 40;  // far above any matrix, and safe to multiply by 16 * 4

// Widths of the planes that a code of 2..8 bits is split into, low bits first; 0 ends the list.
constexpr std::array<std::array<int, 3>, 9> kPlanes = {
    {{}, {}, {2}, {2, 1}, {4}, {4, 1}, {4, 2}, {4, 2, 1}, {8}}};

constexpr int64_t align(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

void check_size(int64_t rows, int64_t cols, int64_t panels, int64_t panel_bytes) {
  int64_t total = 0;
  if (rows < 1 || cols < 1 || rows > kMaxSide || cols > kMaxSide ||
      __builtin_mul_overflow(panels, panel_bytes, &total))
    throw Error(fmt::format("matrix [{}, {}] is empty or too large for panels", rows, cols));
}

// One block: `codes` is 16 rows of `stride` bytes, 32 of them used.
void pack_block(const uint8_t* codes, int64_t stride, int bits, uint8_t* out) {
  int shift = 0;
  for (const int width : kPlanes[size_t(bits)]) {
    if (width == 0) break;
    const unsigned mask = (1u << width) - 1;
    for (int64_t j = 0; j < width; ++j)
      for (int64_t r = 0; r < kPanelRows; ++r)
        for (int64_t i = 0; i < 4; ++i) {
          unsigned byte = 0;
          for (int p = 0; p < 8 / width; ++p)
            byte |= ((unsigned(codes[r * stride + 4 * (p * width + j) + i]) >> shift) & mask) << (p * width);
          out[j * 64 + r * 4 + i] = uint8_t(byte);
        }
    out += 64 * width;
    shift += width;
  }
}

// The inverse; `codes` is zero on entry.
void unpack_block(const uint8_t* in, int bits, int64_t stride, uint8_t* codes) {
  int shift = 0;
  for (const int width : kPlanes[size_t(bits)]) {
    if (width == 0) break;
    const unsigned mask = (1u << width) - 1;
    for (int64_t j = 0; j < width; ++j)
      for (int64_t r = 0; r < kPanelRows; ++r)
        for (int64_t i = 0; i < 4; ++i)
          for (int p = 0; p < 8 / width; ++p) {
            uint8_t& code = codes[r * stride + 4 * (p * width + j) + i];
            code = uint8_t(code | (((unsigned(in[j * 64 + r * 4 + i]) >> (p * width)) & mask) << shift));
          }
    in += 64 * width;
    shift += width;
  }
}

// Bytes of a group's scale.
int64_t store_bytes(const QuantScheme& scheme) {
  if (scheme.two_level()) return 1;
  return scheme.store == ScaleStore::f16 ? 2 : 4;
}

// Scales and offsets: floats of one store, 16 rows of a group side by side.
void put_float(std::byte* region, int64_t at, ScaleStore store, float value) {
  if (store == ScaleStore::f16) {
    const uint16_t half = f32_to_f16(value);
    std::memcpy(region + at * 2, &half, 2);
  } else {
    std::memcpy(region + at * 4, &value, 4);
  }
}

float get_float(const std::byte* region, int64_t at, ScaleStore store) {
  if (store == ScaleStore::f16) {
    uint16_t half;
    std::memcpy(&half, region + at * 2, 2);
    return f16_to_f32(half);
  }
  float value;
  std::memcpy(&value, region + at * 4, 4);
  return value;
}

// 16 rows of codes, each padded to whole blocks.
struct PanelCodes {
  int64_t stride;
  std::vector<uint8_t> codes;
  explicit PanelCodes(int64_t blocks)
      : stride(blocks * kPanelBlock), codes(size_t(kPanelRows * stride), uint8_t(0)) {}
  std::span<uint8_t> row(int64_t r, int64_t cols) {
    return std::span(codes).subspan(size_t(r * stride), size_t(cols));
  }
};

template <class Element>
void interleave(const std::byte* matrix, int64_t cols, int64_t first, int64_t rows, std::byte* panel) {
  for (int64_t r = 0; r < rows; ++r) {
    const std::byte* from = matrix + (first + r) * cols * int64_t(sizeof(Element));
    for (int64_t c = 0; c < cols; ++c)
      std::memcpy(panel + (c * kPanelRows + r) * int64_t(sizeof(Element)),
                  from + c * int64_t(sizeof(Element)), sizeof(Element));
  }
}

template <class Element>
void deinterleave(const std::byte* panel, int64_t cols, int64_t first, int64_t rows, std::byte* matrix) {
  for (int64_t r = 0; r < rows; ++r) {
    std::byte* to = matrix + (first + r) * cols * int64_t(sizeof(Element));
    for (int64_t c = 0; c < cols; ++c)
      std::memcpy(to + c * int64_t(sizeof(Element)), panel + (c * kPanelRows + r) * int64_t(sizeof(Element)),
                  sizeof(Element));
  }
}

void check_float(DType dtype) {
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16)
    throw Error(fmt::format("float panels hold F32, F16 or BF16; found {}", dtype_name(dtype)));
}

// Row `row` of a tensor, everything beside its codes, in lane `lane` of a panel.
void pack_scales(const QuantizedTensor& tensor, int64_t row, const PanelShape& shape, int64_t lane,
                 std::byte* panel) {
  const QuantScheme& scheme = tensor.scheme;
  for (int64_t g = 0; g < shape.groups; ++g) {
    const int64_t at = g * kPanelRows + lane;
    const auto from = size_t(row * shape.groups + g);
    if (scheme.zero == Zero::integer) panel[shape.zeros + at] = std::byte(tensor.zeros[from]);
    if (scheme.two_level()) {
      panel[shape.scales + at] = std::byte(tensor.scale_codes[from]);
      if (scheme.zero == Zero::offset) panel[shape.offsets + at] = std::byte(tensor.offset_codes[from]);
    } else {
      put_float(panel + shape.scales, at, scheme.store, tensor.scales[from]);
      if (scheme.zero == Zero::offset)
        put_float(panel + shape.offsets, at, scheme.store, tensor.offsets[from]);
    }
  }
  if (!scheme.two_level()) return;
  const int64_t outers = scheme.outers(tensor.cols);
  for (int64_t o = 0; o < outers; ++o) {
    const int64_t at = o * kPanelRows + lane;
    const auto from = size_t(row * outers + o);
    put_float(panel + shape.outer_scales, at, ScaleStore::f32, tensor.outer_scales[from]);
    if (scheme.zero == Zero::offset)
      put_float(panel + shape.outer_offsets, at, ScaleStore::f32, tensor.outer_offsets[from]);
  }
}

void unpack_scales(const std::byte* panel, const PanelShape& shape, int64_t lane, QuantizedTensor& tensor,
                   int64_t row) {
  const QuantScheme& scheme = tensor.scheme;
  for (int64_t g = 0; g < shape.groups; ++g) {
    const int64_t at = g * kPanelRows + lane;
    const auto to = size_t(row * shape.groups + g);
    if (scheme.zero == Zero::integer) tensor.zeros[to] = uint8_t(panel[shape.zeros + at]);
    if (scheme.two_level()) {
      tensor.scale_codes[to] = int8_t(panel[shape.scales + at]);
      if (scheme.zero == Zero::offset) tensor.offset_codes[to] = int8_t(panel[shape.offsets + at]);
    } else {
      tensor.scales[to] = get_float(panel + shape.scales, at, scheme.store);
      if (scheme.zero == Zero::offset)
        tensor.offsets[to] = get_float(panel + shape.offsets, at, scheme.store);
    }
  }
  if (!scheme.two_level()) return;
  const int64_t outers = scheme.outers(tensor.cols);
  for (int64_t o = 0; o < outers; ++o) {
    const int64_t at = o * kPanelRows + lane;
    const auto to = size_t(row * outers + o);
    tensor.outer_scales[to] = get_float(panel + shape.outer_scales, at, ScaleStore::f32);
    if (scheme.zero == Zero::offset)
      tensor.outer_offsets[to] = get_float(panel + shape.outer_offsets, at, ScaleStore::f32);
  }
}

}  // namespace

PanelShape panel_shape(const QuantScheme& scheme, int64_t rows, int64_t cols) {
  check_size(rows, cols, 1, 1);
  if (scheme.bits < 2 || scheme.bits > 8)
    throw Error(fmt::format("codes of {} bits; panels hold 2 to 8", scheme.bits));
  const int64_t group = scheme.group_size(cols);
  const bool fits = scheme.super_blocks() || group == cols || group % kPanelBlock == 0;
  if (group < 1 || !fits || cols % group != 0)
    throw Error(
        fmt::format("group {} does not fit panels of {} columns; expected a multiple of {} that "
                    "divides the columns, or the whole row",
                    group, cols, kPanelBlock));
  check_columns(scheme, cols);
  const int64_t scale_region = align(cols / group * kPanelRows * store_bytes(scheme));
  const int64_t outer_region = scheme.two_level() ? align(scheme.outers(cols) * kPanelRows * 4) : 0;
  PanelShape shape;
  shape.panels = ceil_div(rows, kPanelRows);
  shape.blocks = ceil_div(cols, kPanelBlock);
  shape.groups = cols / group;
  shape.scales = shape.blocks * 64 * scheme.bits;
  shape.zeros = shape.scales + scale_region;
  shape.offsets = shape.zeros + (scheme.zero == Zero::integer ? align(shape.groups * kPanelRows) : 0);
  shape.outer_scales = shape.offsets + (scheme.zero == Zero::offset ? scale_region : 0);
  shape.outer_offsets = shape.outer_scales + outer_region;
  shape.bytes = shape.outer_offsets + (scheme.zero == Zero::offset ? outer_region : 0);
  check_size(rows, cols, shape.panels, shape.bytes);
  return shape;
}

void require_kernels(const QuantScheme& scheme) {
  if (scheme.group == 0 || scheme.group % kPanelBlock == 0) return;
  throw Error(fmt::format("no kernel runs {}: its groups of {} are no multiple of {} columns",
                          scheme_text(scheme), scheme.group, kPanelBlock))
      .set_hint("it is run from a GGUF file, by llama.cpp");
}

void pack_panels(const QuantizedTensor& tensor, std::span<std::byte> packed) {
  const QuantScheme& scheme = tensor.scheme;
  const PanelShape shape = panel_shape(scheme, tensor.rows, tensor.cols);
  EDGEQ_CHECK(int64_t(packed.size()) == shape.panels * shape.bytes, "pack_panels gets room for every panel");
  std::memset(packed.data(), 0, packed.size());
  for (int64_t p = 0; p < shape.panels; ++p) {
    std::byte* panel = packed.data() + p * shape.bytes;
    PanelCodes panel_codes(shape.blocks);
    for (int64_t r = 0; r < kPanelRows && p * kPanelRows + r < tensor.rows; ++r) {
      const int64_t row = p * kPanelRows + r;
      tensor.get_codes(row, panel_codes.row(r, tensor.cols));
      pack_scales(tensor, row, shape, r, panel);
    }
    auto* out = reinterpret_cast<uint8_t*>(panel);
    for (int64_t b = 0; b < shape.blocks; ++b)
      pack_block(panel_codes.codes.data() + b * kPanelBlock, panel_codes.stride, scheme.bits,
                 out + b * 64 * scheme.bits);
  }
}

QuantizedTensor unpack_panels(const QuantScheme& scheme, int64_t rows, int64_t cols,
                              std::span<const std::byte> packed) {
  const PanelShape shape = panel_shape(scheme, rows, cols);
  EDGEQ_CHECK(int64_t(packed.size()) == shape.panels * shape.bytes, "unpack_panels gets every panel");
  QuantizedTensor tensor(scheme, rows, cols);
  for (int64_t p = 0; p < shape.panels; ++p) {
    const std::byte* panel = packed.data() + p * shape.bytes;
    const auto* in = reinterpret_cast<const uint8_t*>(panel);
    PanelCodes panel_codes(shape.blocks);
    for (int64_t b = 0; b < shape.blocks; ++b)
      unpack_block(in + b * 64 * scheme.bits, scheme.bits, panel_codes.stride,
                   panel_codes.codes.data() + b * kPanelBlock);
    for (int64_t r = 0; r < kPanelRows && p * kPanelRows + r < rows; ++r) {
      const int64_t row = p * kPanelRows + r;
      tensor.set_codes(row, panel_codes.row(r, cols));
      unpack_scales(panel, shape, r, tensor, row);
    }
  }
  return tensor;
}

PanelShape float_panel_shape(DType dtype, int64_t rows, int64_t cols) {
  check_float(dtype);
  check_size(rows, cols, 1, 1);
  PanelShape shape;
  shape.panels = ceil_div(rows, kPanelRows);
  shape.bytes = align(cols * kPanelRows * dtype_bytes(dtype));
  check_size(rows, cols, shape.panels, shape.bytes);
  return shape;
}

void pack_float_panels(const TensorView& matrix, std::span<std::byte> packed) {
  EDGEQ_CHECK(matrix.shape.size() == 2, "float panels hold a matrix");
  const int64_t rows = matrix.shape[0], cols = matrix.shape[1];
  const PanelShape shape = float_panel_shape(matrix.dtype, rows, cols);
  EDGEQ_CHECK(int64_t(packed.size()) == shape.panels * shape.bytes,
              "pack_float_panels gets room for every panel");
  std::memset(packed.data(), 0, packed.size());
  const auto pack = dtype_bytes(matrix.dtype) == 4 ? interleave<uint32_t> : interleave<uint16_t>;
  for (int64_t p = 0; p < shape.panels; ++p)
    pack(matrix.data, cols, p * kPanelRows, std::min(kPanelRows, rows - p * kPanelRows),
         packed.data() + p * shape.bytes);
}

Tensor unpack_float_panels(DType dtype, int64_t rows, int64_t cols, std::span<const std::byte> packed) {
  const PanelShape shape = float_panel_shape(dtype, rows, cols);
  EDGEQ_CHECK(int64_t(packed.size()) == shape.panels * shape.bytes, "unpack_float_panels gets every panel");
  Tensor matrix(dtype, {rows, cols});
  const auto unpack = dtype_bytes(dtype) == 4 ? deinterleave<uint32_t> : deinterleave<uint16_t>;
  for (int64_t p = 0; p < shape.panels; ++p)
    unpack(packed.data() + p * shape.bytes, cols, p * kPanelRows, std::min(kPanelRows, rows - p * kPanelRows),
           matrix.data());
  return matrix;
}

}  // namespace edgeq
