// SPDX-License-Identifier: Apache-2.0
#include "core/quantized_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

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

TEST(QuantizedTensor, RowsStartOnBytesWhateverTheirLength) {
  QuantizedTensor q(parse_scheme("int3-channel-sym"), 3, 5);
  EXPECT_EQ(q.row_bytes(), 2);
  for (int64_t r = 0; r < 3; ++r) q.set_codes(r, std::vector<uint8_t>(5, uint8_t(r + 1)));
  std::vector<uint8_t> row(5);
  q.get_codes(1, row);
  EXPECT_THAT(row, testing::Each(2));
}

TEST(QuantizedTensor, StoredBytesMatchBitsPerWeight) {
  for (const char* text : {"int4-g32-sym", "int4-g64-asym", "int8-channel-sym", "int2-g32-offset"}) {
    const QuantScheme scheme = parse_scheme(text);
    const QuantizedTensor q(scheme, 16, 576);
    EXPECT_DOUBLE_EQ(8.0 * double(q.stored_bytes()) / (16 * 576), scheme.bits_per_weight(576)) << text;
  }
}

TEST(QuantizedTensor, RefusesAGroupThatDoesNotDivide) {
  EXPECT_THAT([] { QuantizedTensor(parse_scheme("int4-g128-sym"), 4, 576); },
              testing::ThrowsMessage<Error>("group 128 does not divide 576 columns"));
}

}  // namespace
}  // namespace edgeq
