// SPDX-License-Identifier: Apache-2.0
// The layout "r16k4": how a quantized or float matrix lies in memory for the kernels and in the packed file.
// One portable layout serves scalar, AVX2, AVX-512 VNNI and NEON dot-product kernels: 16 rows side by side, 4
// consecutive columns of a row together, so that one 4-byte broadcast of activations meets 16 rows.
//
// A matrix [rows, cols] is a sequence of ceil(rows/16) panels of equal size. Columns are cut in blocks of 32;
// rows and columns beyond the matrix are padding (code 0, scale 0, float 0). Quantized panel, in this order,
// each region padded to 64 bytes:
//   codes    per block of 32 columns: 64 * bits bytes. `bits` is split into planes of 4, 2 or 1 bits or one
//   of 8, high bits
//            last: 2 | 3 = 2+1 | 4 | 5 = 4+1 | 6 = 4+2 | 7 = 4+2+1 | 8; the plane of the low bits comes
//            first. A plane of b bits has 64*b bytes; in byte[j*64 + r*4 + i] (j < b, r < 16, i < 4) the
//            field p (bits p*b .. p*b+b-1, p < 8/b) belongs to row r, column 4*(p*b + j) + i of the block.
//   scales   per group: 16 floats in the scheme's store (f16 or f32), one per row; two-level stores: 16 x i8
//   zeros    Zero::integer only: per group 16 x u8
//   offsets  Zero::offset only: as the scales
//   outer    two-level stores only: per outer scale 16 x f32; then, for Zero::offset, as many outer offsets
// Float panel (f32, f16 or bf16): for each column, 16 consecutive elements, one per row; padded to 64 bytes.
// No column padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/quantized_tensor.h"

namespace edgeq {

inline constexpr std::string_view kPanelLayout = "r16k4";
inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kPanelBlock = 32;

// Offsets in bytes from the start of a panel.
struct PanelShape {
  int64_t panels = 0, blocks = 0, groups = 0;
  // Where each region begins; codes begin at 0.
  int64_t scales = 0, zeros = 0, offsets = 0, outer_scales = 0, outer_offsets = 0;
  int64_t bytes = 0;  // of one panel, a multiple of 64
};

// Throws Error when the layout cannot hold the scheme: a group that is neither the whole row nor a multiple
// of 32. The groups of 16 of q6_k are stored, on their way to a GGUF file, but no kernel runs them.
PanelShape panel_shape(const QuantScheme& scheme, int64_t rows, int64_t cols);
// Throws Error, with the cure, for schemes whose panels no kernel runs: those with groups below a block.
void require_kernels(const QuantScheme& scheme);
// packed: panels * bytes.
void pack_panels(const QuantizedTensor& tensor, std::span<std::byte> packed);
QuantizedTensor unpack_panels(const QuantScheme& scheme, int64_t rows, int64_t cols,
                              std::span<const std::byte> packed);

PanelShape float_panel_shape(DType dtype, int64_t rows, int64_t cols);
void pack_float_panels(const TensorView& matrix,
                       std::span<std::byte> packed);  // f32, f16 or bf16, kept as it is
Tensor unpack_float_panels(DType dtype, int64_t rows, int64_t cols, std::span<const std::byte> packed);

}  // namespace edgeq
