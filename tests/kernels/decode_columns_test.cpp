// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/half.h"
#include "core/random.h"
#include "runtime/kernels/kernel_table.h"
#include "tests/kernels/same_bits.h"

namespace edgeq {
namespace {

// A panel of random codes; scales and offsets of either sign, subnormal, zero, and one NaN.
struct Columns {
  Columns(int64_t cols, int bits, Random& random) : cols(cols), bits(bits) {
    for (int64_t i = 0; i < cols * 2 * bits; ++i) codes.push_back(uint8_t(random.below(256)));
    for (int64_t c = 0; c < cols; ++c) {
      scales.push_back(f32_to_f16(float(random.normal())));
      offsets.push_back(f32_to_f16(float(100 * random.normal())));
    }
    scales[1] = 1;  // the smallest f16
    scales[2] = offsets[3] = 0;
    scales[4] = 0x7e00;
  }
  int code(int64_t col, int64_t row) const {
    return bits == 8 ? codes[size_t(col * 16 + row)]
                     : (codes[size_t(col / 2 * 16 + row)] >> (col % 2 == 0 ? 0 : 4)) & 15;
  }
  std::vector<float> decode(const KernelTable& table) const {
    std::vector<float> out(size_t(cols * 16), -1.0f);
    table.decode_columns({codes.data(), reinterpret_cast<const unsigned char*>(scales.data()),
                          reinterpret_cast<const unsigned char*>(offsets.data()), cols, bits},
                         out.data());
    return out;
  }

  int64_t cols;
  int bits;
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales, offsets;
};

TEST(DecodeColumns, ScalarGivesScaleTimesCodePlusOffsetRoundedOnce) {
  Random random(1);
  for (const int bits : {8, 4}) {
    const Columns columns(48, bits, random);
    const std::vector<float> found = columns.decode(choose_kernels("scalar"));
    for (int64_t c = 0; c < 48; ++c)
      for (int64_t r = 0; r < 16; ++r) {
        const double exact = double(f16_to_f32(columns.scales[size_t(c)])) * columns.code(c, r) +
                             double(f16_to_f32(columns.offsets[size_t(c)]));
        const float value = found[size_t(c * 16 + r)];
        EXPECT_TRUE(c == 4 ? std::isnan(value) : value == float(exact)) << c << " " << r;
      }
  }
}

TEST(DecodeColumns, EveryIsaGivesTheBitsOfScalar) {
  Random random(2);
  for (const int bits : {8, 4})
    for (const int64_t cols : {16, 32, 64, 80, 128}) {
      Columns columns(cols, bits, random);
      columns.scales[4] = 0x3c00;  // NaNs need not have equal bits
      const std::vector<float> expected = columns.decode(choose_kernels("scalar"));
      for (const KernelTable* table : runnable_kernels())
        expect_same_bits(columns.decode(*table), expected, table->isa);
    }
}

}  // namespace
}  // namespace edgeq
