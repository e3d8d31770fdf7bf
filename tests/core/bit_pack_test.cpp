// SPDX-License-Identifier: Apache-2.0
#include "core/bit_pack.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/random.h"

namespace edgeq {
namespace {

TEST(BitPack, UnpackingIsTheInverseForEveryWidthAndLength) {
  Random random(1);
  for (int bits = 1; bits <= 8; ++bits)
    for (int64_t count = 0; count < 70; ++count) {
      std::vector<uint8_t> codes(static_cast<size_t>(count)), back(codes.size());
      for (auto& c : codes) c = uint8_t(random.below(1u << bits));
      std::vector<uint8_t> packed(size_t(packed_bytes(count, bits)), 0xff);
      pack_bits(codes, bits, packed);
      unpack_bits(packed, bits, back);
      ASSERT_EQ(back, codes) << bits << " bits, " << count << " codes";
    }
}

TEST(BitPack, OrderIsLowBitsFirst) {
  std::vector<uint8_t> packed(2);
  pack_bits(std::vector<uint8_t>{0x1, 0x2, 0x3}, 4, packed);
  EXPECT_EQ(packed, (std::vector<uint8_t>{0x21, 0x03}));
  std::vector<uint8_t> three(2);
  pack_bits(std::vector<uint8_t>{7, 0, 5, 1}, 3, three);  // bits, low to high: 111 000 101 100
  EXPECT_EQ(three, (std::vector<uint8_t>{0x47, 0x03}));
}

}  // namespace
}  // namespace edgeq
