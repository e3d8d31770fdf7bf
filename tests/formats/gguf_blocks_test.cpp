// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/random.h"
#include "formats/safetensors.h"
#include "tests/support/message.h"
#include "tests/support/random_quantized.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr Encoding kBlockEncodings[] = {Encoding::q4_0, Encoding::q4_1, Encoding::q5_0,
                                        Encoding::q5_1, Encoding::q8_0, Encoding::iq4_nl,
                                        Encoding::q4_k, Encoding::q5_k, Encoding::q6_k};

// Each block type is a scheme of the same name.
QuantScheme scheme_named_as(Encoding encoding) {
  std::string name(encoding_name(encoding));
  std::ranges::transform(name, name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return parse_scheme(name);
}

// Blocks of the golden file as a tensor of `encoding`.
EncodedTensor golden_blocks(const SafetensorsFile& golden, Encoding encoding) {
  const EncodedTensor& stored = *golden.find(std::string(encoding_name(encoding)) + ".blocks");
  const BlockSize block = block_size(encoding);
  EXPECT_EQ(stored.shape[1], block.bytes);
  return {stored.name, encoding, {stored.shape[0], block.elements}, stored.data, stored.bytes};
}

TEST(GgufBlocks, EveryEncodingDecodesToTheBitsOfTheGgufPackage) {
  const SafetensorsFile golden(EDGEQ_SOURCE_DIR "/tests/golden/gguf_blocks.safetensors");
  for (const Encoding encoding : kBlockEncodings) {
    const EncodedTensor blocks = golden_blocks(golden, encoding);
    const EncodedTensor& values = *golden.find(std::string(encoding_name(encoding)) + ".values");
    const Tensor decoded = decode_tensor(blocks);
    ASSERT_EQ(decoded.bytes(), values.bytes);
    EXPECT_EQ(std::memcmp(decoded.data(), values.data, size_t(values.bytes)), 0) << encoding_name(encoding);

    Tensor last(DType::f32, {1, decoded.cols()});
    decode_rows(blocks, decoded.rows() - 1, 1, last.matrix());
    EXPECT_EQ(std::memcmp(last.data(), decoded.matrix().row(decoded.rows() - 1), size_t(last.bytes())), 0)
        << encoding_name(encoding);
  }
}

// Negative control: the comparison above notices any single changed byte of the scales and codes.
TEST(GgufBlocks, AnyChangedByteChangesTheValues) {
  const SafetensorsFile golden(EDGEQ_SOURCE_DIR "/tests/golden/gguf_blocks.safetensors");
  for (const Encoding encoding : kBlockEncodings) {
    const EncodedTensor blocks = golden_blocks(golden, encoding);
    const BlockSize block = block_size(encoding);
    std::vector<float> before(size_t(block.elements)), after(before);
    const std::byte* second = blocks.data + block.bytes;
    decode_blocks(encoding, second, 1, before.data());
    for (int64_t b = 0; b < block.bytes; ++b) {
      std::vector<std::byte> changed(second, second + block.bytes);
      changed[size_t(b)] ^= std::byte(0x11);
      decode_blocks(encoding, changed.data(), 1, after.data());
      EXPECT_NE(before, after) << encoding_name(encoding) << " byte " << b;
    }
  }
}

TEST(GgufBlocks, SchemesThatEqualAnEncodingSurviveItCodeForCode) {
  for (const Encoding encoding : kBlockEncodings) {
    const QuantScheme scheme = scheme_named_as(encoding);
    EXPECT_EQ(block_encoding(scheme), encoding);
    Random random(5);
    const QuantizedTensor tensor = random_quantized(scheme, 3, 512, random);
    const std::vector<std::byte> blocks = encode_blocks(tensor);
    EXPECT_EQ(int64_t(blocks.size()), tensor.stored_bytes()) << encoding_name(encoding);
    const EncodedTensor encoded{"w", encoding, {3, 512}, blocks.data(), int64_t(blocks.size())};
    EXPECT_EQ(quantized_from_blocks(encoded), tensor) << encoding_name(encoding);

    const Tensor decoded = decode_tensor(encoded);
    Tensor expected(DType::f32, {3, 512});
    dequantize_into(tensor, expected.matrix());
    EXPECT_EQ(std::memcmp(decoded.data(), expected.data(), size_t(expected.bytes())), 0)
        << encoding_name(encoding);
  }
}

TEST(GgufBlocks, BlocksThatBecomeCodesComeBackByteForByte) {
  const SafetensorsFile golden(EDGEQ_SOURCE_DIR "/tests/golden/gguf_blocks.safetensors");
  for (const Encoding encoding : kBlockEncodings) {
    const EncodedTensor blocks = golden_blocks(golden, encoding);
    const QuantizedTensor codes = quantized_from_blocks(blocks);
    const std::vector<std::byte> again = encode_blocks(codes);
    ASSERT_EQ(int64_t(again.size()), blocks.bytes);
    EXPECT_EQ(std::memcmp(again.data(), blocks.data, again.size()), 0) << encoding_name(encoding);

    // The canonical form means what the gguf package says, bit for bit.
    const EncodedTensor& values = *golden.find(std::string(encoding_name(encoding)) + ".values");
    Tensor dequantized(DType::f32, {codes.rows, codes.cols});
    dequantize_into(codes, dequantized.matrix());
    EXPECT_EQ(std::memcmp(dequantized.data(), values.data, size_t(values.bytes)), 0)
        << encoding_name(encoding);
  }
}

TEST(GgufBlocks, RefuseSchemesAndEncodingsWithoutACounterpart) {
  EXPECT_EQ(block_encoding(parse_scheme("int4-g64-sym")), std::nullopt);
  EXPECT_EQ(block_encoding(parse_scheme("int4-g32-sym-f32")), std::nullopt);
  EXPECT_THAT(error_of([] { encode_blocks(QuantizedTensor(parse_scheme("int4-g32-asym"), 1, 32)); }),
              HasSubstr("int4-g32-asym"));
  EXPECT_EQ(block_encoding(parse_scheme("iq4nl-g32-s8")), std::nullopt);
  const std::byte data[210]{};
  EXPECT_THAT(error_of([&] {
                quantized_from_blocks({"w", Encoding::f16, {1, 32}, data, 64});
              }),
              AllOf(HasSubstr("w is F16"), HasSubstr("expected")));
  EXPECT_THAT(error_of([&] {
                quantized_from_blocks({"w", Encoding::q6_k, {256}, data, 210});
              }),
              HasSubstr("expected a matrix"));
}

}  // namespace
}  // namespace edgeq
