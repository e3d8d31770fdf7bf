// SPDX-License-Identifier: Apache-2.0
// The block encodings of ggml: consecutive weights of a row (32, or 256 for the K types) share scales that
// lie beside their codes. Half-precision scales and bytes in little-endian order; w is a weight of the block.
//   Q4_0  18 B/32   f16 d, 16 B nibbles            w = d * (q - 8)
//   Q4_1  20 B/32   f16 d, f16 m, 16 B nibbles     w = d * q + m
//   Q5_0  22 B/32   f16 d, u32 fifth bits, nibbles w = d * (q - 16)
//   Q5_1  24 B/32   f16 d, f16 m, u32, nibbles     w = d * q + m
//   Q8_0  34 B/32   f16 d, 32 x i8                 w = d * q
//   IQ4_NL 18 B/32  f16 d, 16 B nibbles            w = d * kIq4nlLevels[q]
//   Q4_K  144 B/256 f16 d, f16 dmin, 8 x (6-bit scale, 6-bit min), nibbles              w = d*s*q - dmin*m
//   Q5_K  176 B/256 the same with a plane of fifth bits
//   Q6_K  210 B/256 4-bit plane, 2-bit plane, 16 x i8 scales, f16 d                     w = d*s*(q - 32)
// In blocks of 32 the low nibbles are weights 0..15 and the high nibbles weights 16..31.
// Source: ggml, src/ggml-common.h and src/ggml-quants.c.
//
// Each of them is a scheme (core/quant_scheme.h): a quantized weight becomes blocks and comes back code for
// code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/quantized_tensor.h"
#include "formats/container.h"

namespace edgeq {

// Dequantizes `count` blocks of a block encoding; `blocks` has any alignment, `out` has count *
// block_size(encoding).elements entries.
void decode_blocks(Encoding encoding, const std::byte* blocks, int64_t count, float* out);

// The encoding that holds a scheme exactly, or nullopt; and the scheme of an encoding, nullopt for plain
// ones.
std::optional<Encoding> block_encoding(const QuantScheme& scheme);
std::optional<QuantScheme> block_scheme(Encoding encoding);
// A quantized weight as blocks, row by row, code for code. Throws Error when no block encoding holds the
// scheme.
std::vector<std::byte> encode_blocks(const QuantizedTensor& tensor);
// The same weight back: the identity in both directions. Throws Error for plain encodings.
QuantizedTensor quantized_from_blocks(const EncodedTensor& tensor);

}  // namespace edgeq
