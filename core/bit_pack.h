// SPDX-License-Identifier: Apache-2.0
// Codes of 1..8 bits packed into bytes as one dense little-endian bit stream: code i occupies bits [i*bits,
// (i+1)*bits), low bits first. The canonical order of QuantizedTensor; kernels have layouts of their own
// (formats/panels.h).
#pragma once

#include <cstdint>
#include <span>

namespace edgeq {

constexpr int64_t packed_bytes(int64_t count, int bits) { return (count * bits + 7) / 8; }

// `packed` holds at least packed_bytes(codes.size(), bits); codes are below 2^bits. Unused bits of the last
// byte become 0.
void pack_bits(std::span<const uint8_t> codes, int bits, std::span<uint8_t> packed);
void unpack_bits(std::span<const uint8_t> packed, int bits, std::span<uint8_t> codes);

}  // namespace edgeq
