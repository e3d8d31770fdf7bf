// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/random.h"
#include "formats/safetensors.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr Encoding kBlockEncodings[] = {Encoding::q4_0, Encoding::q4_1, Encoding::q5_0, Encoding::q5_1,
                                        Encoding::q8_0, Encoding::q4_k, Encoding::q5_k, Encoding::q6_k};

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
  for (const char* text : {"q4_0", "q4_1", "q8_0"}) {
    QuantizedTensor tensor(parse_scheme(text), 3, 96);
    Random random(5);
    std::vector<uint8_t> codes(96);
    for (int64_t r = 0; r < tensor.rows; ++r) {
      for (uint8_t& code : codes) code = uint8_t(random.below(uint64_t(tensor.scheme.max_code()) + 1));
      tensor.set_codes(r, codes);
    }
    for (float& scale : tensor.scales) scale = round_to_store(float(random.normal()), ScaleStore::f16);
    for (float& offset : tensor.offsets) offset = round_to_store(float(random.normal()), ScaleStore::f16);

    const Encoding encoding = *block_encoding(tensor.scheme);
    const std::vector<std::byte> blocks = encode_blocks(tensor);
    const EncodedTensor encoded{"w", encoding, {3, 96}, blocks.data(), int64_t(blocks.size())};
    EXPECT_EQ(quantized_from_blocks(encoded), tensor) << text;

    const Tensor decoded = decode_tensor(encoded);
    Tensor expected(DType::f32, {3, 96});
    dequantize_into(tensor, expected.matrix());
    // As numbers: a negative scale times code 0 is -0 in one and +0 in the other.
    EXPECT_TRUE(std::equal(decoded.f32(), decoded.f32() + decoded.size(), expected.f32())) << text;
  }
}

TEST(GgufBlocks, BlocksThatBecomeCodesComeBackByteForByte) {
  const SafetensorsFile golden(EDGEQ_SOURCE_DIR "/tests/golden/gguf_blocks.safetensors");
  for (const Encoding encoding : {Encoding::q4_0, Encoding::q4_1, Encoding::q8_0}) {
    const EncodedTensor blocks = golden_blocks(golden, encoding);
    const std::vector<std::byte> again = encode_blocks(quantized_from_blocks(blocks));
    ASSERT_EQ(int64_t(again.size()), blocks.bytes);
    EXPECT_EQ(std::memcmp(again.data(), blocks.data, again.size()), 0) << encoding_name(encoding);
  }
}

TEST(GgufBlocks, RefuseSchemesAndEncodingsWithoutACounterpart) {
  EXPECT_EQ(block_encoding(parse_scheme("int4-g64-sym")), std::nullopt);
  EXPECT_EQ(block_encoding(parse_scheme("int4-g32-sym-f32")), std::nullopt);
  EXPECT_THAT(error_of([] { encode_blocks(QuantizedTensor(parse_scheme("int4-g32-asym"), 1, 32)); }),
              HasSubstr("int4-g32-asym"));
  const std::byte data[210]{};
  EXPECT_THAT(error_of([&] {
                quantized_from_blocks({"w", Encoding::q6_k, {1, 256}, data, 210});
              }),
              AllOf(HasSubstr("w is Q6_K"), HasSubstr("expected")));
}

}  // namespace
}  // namespace edgeq
