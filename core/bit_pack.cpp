// SPDX-License-Identifier: Apache-2.0
#include "core/bit_pack.h"

#include <algorithm>

#include "core/error.h"

namespace edgeq {

void pack_bits(std::span<const uint8_t> codes, int bits, std::span<uint8_t> packed) {
  const auto bytes = size_t(packed_bytes(int64_t(codes.size()), bits));
  EDGEQ_CHECK(bits >= 1 && bits <= 8 && packed.size() >= bytes, "pack_bits gets room for every code");
  std::fill_n(packed.begin(), bytes, uint8_t(0));
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t bit = i * size_t(bits);
    const unsigned spread = unsigned(codes[i]) << (bit % 8);
    packed[bit / 8] = uint8_t(packed[bit / 8] | spread);
    if (spread > 0xff) packed[bit / 8 + 1] = uint8_t(packed[bit / 8 + 1] | (spread >> 8));
  }
}

void unpack_bits(std::span<const uint8_t> packed, int bits, std::span<uint8_t> codes) {
  EDGEQ_CHECK(bits >= 1 && bits <= 8 && int64_t(packed.size()) >= packed_bytes(int64_t(codes.size()), bits),
              "unpack_bits gets every byte");
  const unsigned mask = (1u << bits) - 1;
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t bit = i * size_t(bits);
    unsigned pair = packed[bit / 8];
    if (bit / 8 + 1 < packed.size()) pair |= unsigned(packed[bit / 8 + 1]) << 8;
    codes[i] = uint8_t((pair >> (bit % 8)) & mask);
  }
}

}  // namespace edgeq
