// SPDX-License-Identifier: Apache-2.0
#include "formats/panels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "core/half.h"
#include "core/random.h"
#include "tests/support/message.h"
#include "tests/support/random_quantized.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

QuantizedTensor random_tensor(const QuantScheme& scheme, int64_t rows, int64_t cols, uint64_t seed = 1) {
  Random random(seed);
  return random_quantized(scheme, rows, cols, random);
}

std::vector<std::byte> packed(const QuantizedTensor& tensor) {
  const PanelShape shape = panel_shape(tensor.scheme, tensor.rows, tensor.cols);
  std::vector<std::byte> bytes(size_t(shape.panels * shape.bytes), std::byte(0xaa));
  pack_panels(tensor, bytes);
  return bytes;
}

TEST(Panels, UnpackingWhatWasPackedGivesItBackForEverySchemeAndOddShapes) {
  int cases = 0;
  for (const std::string& text : all_scheme_texts())
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{1, 256}, {17, 512}, {33, 96}, {16, 128}, {5, 45}, {31, 1}, {3, 100}}) {
      const QuantScheme scheme = parse_scheme(text);
      if (cols % scheme.group_size(cols) != 0 || (scheme.super_blocks() && cols % kSuperBlock != 0)) continue;
      const QuantizedTensor tensor = random_tensor(scheme, rows, cols);
      ASSERT_EQ(unpack_panels(scheme, rows, cols, packed(tensor)), tensor)
          << text << " " << rows << "x" << cols;
      ++cases;
    }
  EXPECT_GT(cases, 900);
}

// The documented place of one code, computed the other way round: from (row, column) to bits.
int code_at(const std::vector<std::byte>& bytes, const QuantizedTensor& tensor, int64_t row, int64_t col) {
  const PanelShape shape = panel_shape(tensor.scheme, tensor.rows, tensor.cols);
  const std::byte* block = bytes.data() + row / 16 * shape.bytes + col / 32 * 64 * tensor.scheme.bits;
  const int64_t r = row % 16, i = col % 4, quad = col % 32 / 4;
  int code = 0, shift = 0;
  for (int rest = tensor.scheme.bits; rest > 0;) {
    const int width = rest == 8 ? 8 : rest >= 4 ? 4 : rest >= 2 ? 2 : 1;
    const int64_t p = quad / width, j = quad % width;
    const int field = (int(block[j * 64 + r * 4 + i]) >> (p * width)) & ((1 << width) - 1);
    code |= field << shift;
    shift += width;
    rest -= width;
    block += 64 * width;
  }
  return code;
}

TEST(Panels, EveryCodeLiesWhereTheLayoutSays) {
  for (int bits = 2; bits <= 8; ++bits) {
    const QuantizedTensor tensor = random_tensor({.bits = bits, .group = 32}, 20, 64);
    const auto bytes = packed(tensor);
    std::vector<uint8_t> codes(64);
    for (int64_t r = 0; r < tensor.rows; ++r) {
      tensor.get_codes(r, codes);
      for (int64_t c = 0; c < tensor.cols; ++c)
        ASSERT_EQ(code_at(bytes, tensor, r, c), codes[size_t(c)])
            << bits << " bits, row " << r << ", column " << c;
    }
  }
}

TEST(Panels, RegionsAreAlignedAndScalesLieRowByRowWithinAGroup) {
  const QuantizedTensor tensor = random_tensor({.bits = 4, .group = 32, .zero = Zero::integer}, 18, 96);
  const PanelShape shape = panel_shape(tensor.scheme, 18, 96);
  EXPECT_EQ(shape.panels, 2);
  EXPECT_EQ(shape.blocks, 3);
  EXPECT_EQ(shape.groups, 3);
  EXPECT_EQ(shape.scales, 3 * 256);
  EXPECT_EQ(shape.zeros, shape.scales + 128);  // 3 groups x 16 rows x 2 bytes = 96, padded to 64s
  EXPECT_EQ(shape.bytes, shape.zeros + 64);    // 48 bytes, padded
  const auto bytes = packed(tensor);
  const std::byte* second = bytes.data() + shape.bytes;
  uint16_t half;
  std::memcpy(&half, second + shape.scales + (2 * 16 + 1) * 2, 2);
  EXPECT_EQ(f16_to_f32(half), tensor.scale(17, 2));
  EXPECT_EQ(int(second[shape.zeros + 2 * 16 + 1]), tensor.zero(17, 2));
}

TEST(Panels, ScaleCodesLieAsBytesAndOuterScalesBehindThem) {
  const QuantizedTensor rows = random_tensor(parse_scheme("iq4nl-g32-s8"), 18, 96);
  const PanelShape shape = panel_shape(rows.scheme, 18, 96);
  EXPECT_EQ(shape.scales, 3 * 256);
  EXPECT_EQ(shape.outer_scales, shape.scales + 64);  // 3 groups x 16 rows x 1 byte, padded
  EXPECT_EQ(shape.bytes, shape.outer_scales + 64);
  const std::vector<std::byte> bytes = packed(rows);
  const std::byte* second = bytes.data() + shape.bytes;
  EXPECT_EQ(int8_t(second[shape.scales + 2 * 16 + 1]), rows.scale_codes[17 * 3 + 2]);
  float outer;
  std::memcpy(&outer, second + shape.outer_scales + 4, 4);
  EXPECT_EQ(outer, rows.outer_scales[17]);

  const QuantizedTensor k = random_tensor(parse_scheme("q5_k"), 16, 512);
  const PanelShape k_shape = panel_shape(k.scheme, 16, 512);
  EXPECT_EQ(k_shape.offsets, k_shape.scales + 16 * 16);
  EXPECT_EQ(k_shape.outer_scales, k_shape.offsets + 16 * 16);
  EXPECT_EQ(k_shape.outer_offsets, k_shape.outer_scales + 2 * 64);
  EXPECT_EQ(k_shape.bytes, k_shape.outer_offsets + 2 * 64);
  std::memcpy(&outer, packed(k).data() + k_shape.outer_offsets + 64 + 3 * 4, 4);
  EXPECT_EQ(outer, k.outer_offsets[3 * 2 + 1]);
}

TEST(Panels, PaddingIsZeroWhateverTheBufferHeld) {
  const QuantizedTensor tensor = random_tensor({.bits = 8, .store = ScaleStore::f32}, 1, 33);
  const PanelShape shape = panel_shape(tensor.scheme, 1, 33);
  const auto bytes = packed(tensor);
  for (int64_t col = 33; col < 64; ++col) EXPECT_EQ(code_at(bytes, tensor, 0, col), 0);
  for (int64_t row = 1; row < 16; ++row) {
    EXPECT_EQ(code_at(bytes, tensor, row, 0), 0);
    float scale;
    std::memcpy(&scale, bytes.data() + shape.scales + row * 4, 4);
    EXPECT_EQ(scale, 0);
  }
}

TEST(Panels, FloatMatricesSurviveWithTheirBits) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {16, 32}, {37, 45}}) {
      Tensor f32(DType::f32, {rows, cols});
      Random random(3);
      for (int64_t i = 0; i < f32.size(); ++i) f32.f32()[i] = float(random.normal());
      const Tensor matrix = from_f32(f32, dtype);
      const PanelShape shape = float_panel_shape(dtype, rows, cols);
      EXPECT_EQ(shape.bytes % 64, 0);
      std::vector<std::byte> bytes(size_t(shape.panels * shape.bytes), std::byte(0xaa));
      pack_float_panels(matrix.view(), bytes);
      const Tensor back = unpack_float_panels(dtype, rows, cols, bytes);
      ASSERT_EQ(back.shape(), matrix.shape());
      EXPECT_EQ(std::memcmp(back.data(), matrix.data(), size_t(matrix.bytes())), 0);
      const int64_t at =
          (rows - 1) / 16 * shape.bytes + ((cols - 1) * 16 + (rows - 1) % 16) * dtype_bytes(dtype);
      EXPECT_EQ(std::memcmp(bytes.data() + at, matrix.data() + matrix.bytes() - dtype_bytes(dtype),
                            size_t(dtype_bytes(dtype))),
                0);
    }
}

TEST(Panels, RefuseWhatTheLayoutCannotHold) {
  EXPECT_THAT(error_of([] { panel_shape({.bits = 4, .group = 16}, 16, 64); }), HasSubstr("group 16"));
  EXPECT_THAT(error_of([] { panel_shape({.bits = 4, .group = 64}, 16, 96); }), HasSubstr("96 columns"));
  EXPECT_THAT(error_of([] { panel_shape(parse_scheme("q4_k"), 16, 576); }), HasSubstr("super-blocks of 256"));
  EXPECT_THAT(error_of([] { require_kernels(parse_scheme("q6_k")); }), HasSubstr("no kernel runs q6_k"));
  for (const char* text : {"q4_k", "iq4nl-g32-s8", "iq4nl-channel", "int8-g96-sym"})
    EXPECT_NO_THROW(require_kernels(parse_scheme(text)));
  EXPECT_THAT(error_of([] { panel_shape({.bits = 9}, 16, 64); }), HasSubstr("9 bits"));
  EXPECT_THAT(error_of([] { panel_shape({.bits = 4}, 0, 64); }), HasSubstr("[0, 64]"));
  EXPECT_THAT(error_of([] { panel_shape({.bits = 4}, int64_t(1) << 39, int64_t(1) << 40); }),
              HasSubstr("too large"));
  EXPECT_THAT(error_of([] { float_panel_shape(DType::f32, -1, 64); }), HasSubstr("[-1, 64]"));
  EXPECT_THAT(error_of([] { float_panel_shape(DType::i8, 16, 64); }), HasSubstr("I8"));
}

}  // namespace
}  // namespace edgeq
