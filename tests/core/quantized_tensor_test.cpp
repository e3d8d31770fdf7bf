// SPDX-License-Identifier: Apache-2.0
#include "core/quantized_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tests/support/random_quantized.h"

namespace edgeq {
namespace {

std::vector<float> dequantized(const QuantizedTensor& q) {
  std::vector<float> out(size_t(q.rows * q.cols));
  dequantize_into(q, {out.data(), q.rows, q.cols});
  return out;
}

TEST(QuantizedTensor, SymmetricCodesCountFromTheMiddle) {
  QuantizedTensor q(parse_scheme("int4-g2-sym"), 1, 4);
  q.set_codes(0, std::vector<uint8_t>{0, 8, 15, 9});
  q.scales = {0.5f, -2.0f};
  EXPECT_THAT(dequantized(q), testing::ElementsAre(-4.0f, 0.0f, -14.0f, -2.0f));
}

TEST(QuantizedTensor, IntegerZerosAndFloatOffsetsShiftEachGroup) {
  QuantizedTensor q(parse_scheme("int3-g2-asym"), 1, 4);
  q.set_codes(0, std::vector<uint8_t>{0, 7, 2, 3});
  q.scales = {1.0f, 0.5f};
  q.zeros = {1, 2};
  EXPECT_THAT(dequantized(q), testing::ElementsAre(-1.0f, 6.0f, 0.0f, 0.5f));

  QuantizedTensor o(parse_scheme("int3-g2-offset"), 1, 4);
  o.set_codes(0, std::vector<uint8_t>{0, 7, 2, 3});
  o.scales = {1.0f, 0.5f};
  o.offsets = {-0.25f, 10.0f};
  EXPECT_THAT(dequantized(o), testing::ElementsAre(-0.25f, 6.75f, 11.0f, 11.5f));
}

TEST(QuantizedTensor, ATableTurnsCodesIntoLevels) {
  QuantizedTensor q(parse_scheme("iq4nl-g2"), 1, 4);
  q.set_codes(0, std::vector<uint8_t>{0, 8, 15, 7});
  q.scales = {0.5f, -2.0f};
  EXPECT_THAT(dequantized(q), testing::ElementsAre(-63.5f, 0.5f, -226.0f, 20.0f));
}

TEST(QuantizedTensor, ScaleCodesTimesTheOuterScaleAreTheScales) {
  QuantizedTensor q(parse_scheme("int4-g2-s8"), 2, 4);
  for (int64_t r = 0; r < 2; ++r) q.set_codes(r, std::vector<uint8_t>{0, 15, 9, 8});
  q.scale_codes = {127, -3, 0, 1};
  q.outer_scales = {0.1f, 0.25f};
  EXPECT_THAT(dequantized(q), testing::ElementsAre(-8 * (127 * 0.1f), 7 * (127 * 0.1f), -3 * 0.1f, -0.0f,
                                                   0.0f, 0.0f, 0.25f, 0.0f));

  QuantizedTensor k(parse_scheme("q4_k"), 1, 512);
  k.set_codes(0, std::vector<uint8_t>(512, 3));
  std::fill(k.scale_codes.begin(), k.scale_codes.end(), int8_t(2));
  k.offset_codes[9] = 63;
  k.outer_scales = {0.5f, 0.25f};
  k.outer_offsets = {1.0f, 0.125f};
  const std::vector<float> values = dequantized(k);
  EXPECT_EQ(values[255], 3.0f);                   // the first super-block
  EXPECT_EQ(values[256], 1.5f);                   // group 8: the second
  EXPECT_EQ(values[9 * 32], 1.5f - 63 * 0.125f);  // offsets are subtracted
  EXPECT_EQ(values[10 * 32], 1.5f);
}

TEST(QuantizedTensor, ANegativeScaleTimesTheMiddleCodeIsMinusZeroAsInGgml) {
  QuantizedTensor q(parse_scheme("q4_0"), 1, 32);
  q.set_codes(0, std::vector<uint8_t>(32, 8));
  q.scales = {-1.0f};
  EXPECT_TRUE(std::signbit(dequantized(q)[0]));
}

TEST(QuantizedTensor, RowsStartOnBytesWhateverTheirLength) {
  QuantizedTensor q(parse_scheme("int3-channel-sym"), 3, 5);
  EXPECT_EQ(q.row_bytes(), 2);
  for (int64_t r = 0; r < 3; ++r) q.set_codes(r, std::vector<uint8_t>(5, uint8_t(r + 1)));
  std::vector<uint8_t> row(5);
  q.get_codes(1, row);
  EXPECT_THAT(row, testing::Each(2));
}

TEST(QuantizedTensor, StoredBytesMatchBitsPerWeight) {
  for (const std::string& text : all_scheme_texts()) {
    const QuantScheme scheme = parse_scheme(text);
    const QuantizedTensor q(scheme, 16, 768);
    EXPECT_DOUBLE_EQ(8.0 * double(q.stored_bytes()) / (16 * 768), scheme.bits_per_weight(768)) << text;
  }
}

TEST(QuantizedTensor, RefusesAGroupThatDoesNotDivide) {
  EXPECT_THAT([] { QuantizedTensor(parse_scheme("int4-g128-sym"), 4, 576); },
              testing::ThrowsMessage<Error>("group 128 does not divide 576 columns"));
  EXPECT_THAT([] { QuantizedTensor(parse_scheme("q6_k"), 4, 576); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("super-blocks of 256")));
}

}  // namespace
}  // namespace edgeq
