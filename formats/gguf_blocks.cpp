// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/error.h"
#include "core/half.h"

namespace edgeq {
namespace {

// What a block of any encoding holds, codes in the order of the weights.
struct Block {
  uint8_t codes[256] = {};
  float scale = 0, offset = 0;  // d and m, or dmin
  int8_t scale_codes[16] = {}, offset_codes[8] = {};
};

float half_at(const uint8_t* bytes) {
  return f16_to_f32(uint16_t(unsigned(bytes[0]) | unsigned(bytes[1]) << 8));
}

void put_half(float value, uint8_t* bytes) {
  const uint16_t half = f32_to_f16(value);
  bytes[0] = uint8_t(half & 0xff);
  bytes[1] = uint8_t(half >> 8);
}

// `half` low nibbles, which are codes 0..half-1, and as many high ones, codes half..2*half-1.
void split_nibbles(const uint8_t* in, int half, uint8_t* codes) {
  for (int j = 0; j < half; ++j) {
    codes[j] = in[j] & 15;
    codes[j + half] = in[j] >> 4;
  }
}

void join_nibbles(const uint8_t* codes, int half, uint8_t* out) {
  for (int j = 0; j < half; ++j) out[j] = uint8_t((codes[j] & 15) | codes[j + half] << 4);
}

// Blocks of 32. The fifth bits of Q5_0 and Q5_1 are those of one little-endian word.
void read_fifth_bits(const uint8_t* in, uint8_t* codes) {
  for (int j = 0; j < 32; ++j) codes[j] = uint8_t(codes[j] | ((in[j / 8] >> j % 8) & 1) << 4);
}

void write_fifth_bits(const uint8_t* codes, uint8_t* out) {
  std::memset(out, 0, 4);
  for (int j = 0; j < 32; ++j) out[j / 8] = uint8_t(out[j / 8] | (codes[j] >> 4) << j % 8);
}

// Q4_0, Q4_1, Q5_0, Q5_1 and IQ4_NL: d, then m and the fifth bits where the encoding has them, then nibbles.
struct SmallLayout {
  bool offset, fifth;
};

void read_small(SmallLayout layout, const uint8_t* in, Block& block) {
  block.scale = half_at(in);
  in += 2;
  if (layout.offset) {
    block.offset = half_at(in);
    in += 2;
  }
  split_nibbles(in + (layout.fifth ? 4 : 0), 16, block.codes);
  if (layout.fifth) read_fifth_bits(in, block.codes);
}

void write_small(SmallLayout layout, const Block& block, uint8_t* out) {
  put_half(block.scale, out);
  out += 2;
  if (layout.offset) {
    put_half(block.offset, out);
    out += 2;
  }
  if (layout.fifth) {
    write_fifth_bits(block.codes, out);
    out += 4;
  }
  join_nibbles(block.codes, 16, out);
}

void read_q8_0(const uint8_t* in, Block& block) {
  block.scale = half_at(in);
  for (int j = 0; j < 32; ++j) block.codes[j] = uint8_t(in[2 + j] + 128);  // stored signed
}

void write_q8_0(const Block& block, uint8_t* out) {
  put_half(block.scale, out);
  for (int j = 0; j < 32; ++j) out[2 + j] = uint8_t(block.codes[j] - 128);
}

// Q4_K and Q5_K: scales and minima of 8 sub-blocks, 6 bits each, in 12 bytes. Those of sub-block j < 4 have
// bytes j and j + 4; those of j >= 4 share byte j + 4 and take the two upper bits of bytes j - 4 and j.
void read_scale_mins(const uint8_t* in, Block& block) {
  for (int j = 0; j < 4; ++j) {
    block.scale_codes[j] = int8_t(in[j] & 63);
    block.offset_codes[j] = int8_t(in[j + 4] & 63);
    block.scale_codes[j + 4] = int8_t((in[j + 8] & 15) | (in[j] >> 6) << 4);
    block.offset_codes[j + 4] = int8_t((in[j + 8] >> 4) | (in[j + 4] >> 6) << 4);
  }
}

void write_scale_mins(const Block& block, uint8_t* out) {
  for (int j = 0; j < 4; ++j) {
    const int scale = block.scale_codes[j + 4], offset = block.offset_codes[j + 4];
    out[j] = uint8_t(block.scale_codes[j] | (scale >> 4) << 6);
    out[j + 4] = uint8_t(block.offset_codes[j] | (offset >> 4) << 6);
    out[j + 8] = uint8_t((scale & 15) | (offset & 15) << 4);
  }
}

// 64 weights share 32 bytes of nibbles; bit j of high[l] is the fifth bit of weight l of sub-block j.
void read_q45_k(bool fifth, const uint8_t* in, Block& block) {
  block.scale = half_at(in);
  block.offset = half_at(in + 2);
  read_scale_mins(in + 4, block);
  const uint8_t* high = in + 16;
  const uint8_t* nibbles = fifth ? in + 48 : in + 16;
  for (int pair = 0; pair < 4; ++pair) split_nibbles(nibbles + pair * 32, 32, block.codes + pair * 64);
  for (int i = 0; fifth && i < 256; ++i)
    block.codes[i] = uint8_t(block.codes[i] | ((high[i % 32] >> i / 32) & 1) << 4);
}

void write_q45_k(bool fifth, const Block& block, uint8_t* out) {
  put_half(block.scale, out);
  put_half(block.offset, out + 2);
  write_scale_mins(block, out + 4);
  uint8_t* high = out + 16;
  uint8_t* nibbles = fifth ? out + 48 : out + 16;
  if (fifth) std::memset(high, 0, 32);
  for (int i = 0; fifth && i < 256; ++i)
    high[i % 32] = uint8_t(high[i % 32] | (block.codes[i] >> 4) << i / 32);
  for (int pair = 0; pair < 4; ++pair) join_nibbles(block.codes + pair * 64, 32, nibbles + pair * 32);
}

// Q6_K: halves of 128 weights have 64 bytes of low nibbles and 32 bytes of upper bit pairs.
void read_q6_k(const uint8_t* in, Block& block) {
  block.scale = half_at(in + 208);
  std::memcpy(block.scale_codes, in + 192, 16);
  for (int half = 0; half < 2; ++half) {
    uint8_t* codes = block.codes + half * 128;
    split_nibbles(in + half * 64, 64, codes);
    const uint8_t* high = in + 128 + half * 32;
    for (int i = 0; i < 128; ++i) codes[i] = uint8_t(codes[i] | ((high[i % 32] >> i / 32 * 2) & 3) << 4);
  }
}

void write_q6_k(const Block& block, uint8_t* out) {
  put_half(block.scale, out + 208);
  std::memcpy(out + 192, block.scale_codes, 16);
  std::memset(out + 128, 0, 64);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* codes = block.codes + half * 128;
    join_nibbles(codes, 64, out + half * 64);
    uint8_t* high = out + 128 + half * 32;
    for (int i = 0; i < 128; ++i) high[i % 32] = uint8_t(high[i % 32] | (codes[i] >> 4) << i / 32 * 2);
  }
}

// An encoding as the scheme that it equals, and its layout.
struct BlockType {
  Encoding encoding;
  std::string_view scheme;
  void (*read)(const uint8_t*, Block&);
  void (*write)(const Block&, uint8_t*);
};

template <bool kOffset, bool kFifth>
constexpr BlockType small(Encoding encoding, std::string_view scheme) {
  return {encoding, scheme,
          [](const uint8_t* in, Block& block) {
            read_small({kOffset, kFifth}, in, block);
          },
          [](const Block& block, uint8_t* out) {
            write_small({kOffset, kFifth}, block, out);
          }};
}

template <bool kFifth>
constexpr BlockType q45_k(Encoding encoding, std::string_view scheme) {
  return {encoding, scheme, [](const uint8_t* in, Block& block) { read_q45_k(kFifth, in, block); },
          [](const Block& block, uint8_t* out) { write_q45_k(kFifth, block, out); }};
}

constexpr BlockType kTypes[] = {
    small<false, false>(Encoding::q4_0, "q4_0"),
    small<true, false>(Encoding::q4_1, "q4_1"),
    small<false, true>(Encoding::q5_0, "q5_0"),
    small<true, true>(Encoding::q5_1, "q5_1"),
    {Encoding::q8_0, "q8_0", read_q8_0, write_q8_0},
    small<false, false>(Encoding::iq4_nl, "iq4_nl"),
    q45_k<false>(Encoding::q4_k, "q4_k"),
    q45_k<true>(Encoding::q5_k, "q5_k"),
    {Encoding::q6_k, "q6_k", read_q6_k, write_q6_k},
};

const BlockType* type_of(Encoding encoding) {
  const auto* found = std::ranges::find(kTypes, encoding, &BlockType::encoding);
  return found == std::end(kTypes) ? nullptr : found;
}

const BlockType* type_of(const QuantScheme& scheme) {
  for (const BlockType& type : kTypes)
    if (parse_scheme(type.scheme) == scheme) return &type;
  return nullptr;
}

std::string known_types() {
  std::string list;
  for (const BlockType& type : kTypes)
    list += (list.empty() ? "" : ", ") + std::string(encoding_name(type.encoding));
  return list;
}

// Scale, zero and offset of group g of a block.
GroupValues group_values(const QuantScheme& scheme, const Block& block, int64_t g) {
  if (!scheme.two_level())
    return {block.scale, scheme.zero == Zero::mid ? scheme.mid_code() : 0, block.offset};
  const float scale = block.scale * float(block.scale_codes[g]);
  if (scheme.zero == Zero::mid) return {scale, scheme.mid_code(), 0};
  return {scale, 0, -(block.offset * float(block.offset_codes[g]))};
}

// Groups [first, first + count) of a row: the block between its two forms.
Block take_block(const QuantizedTensor& q, int64_t row, int64_t first, int64_t count) {
  Block block;
  const auto at = size_t(row * q.groups() + first);
  if (!q.scheme.two_level()) {
    block.scale = q.scales[at];
    if (!q.offsets.empty()) block.offset = q.offsets[at];
    return block;
  }
  block.scale = q.outer_scales[q.outer_at(row, first)];
  std::copy_n(q.scale_codes.begin() + int64_t(at), count, block.scale_codes);
  if (q.offset_codes.empty()) return block;
  block.offset = q.outer_offsets[q.outer_at(row, first)];
  std::copy_n(q.offset_codes.begin() + int64_t(at), count, block.offset_codes);
  return block;
}

void put_block(const Block& block, QuantizedTensor& q, int64_t row, int64_t first, int64_t count) {
  const auto at = size_t(row * q.groups() + first);
  if (!q.scheme.two_level()) {
    q.scales[at] = block.scale;
    if (!q.offsets.empty()) q.offsets[at] = block.offset;
    return;
  }
  q.outer_scales[q.outer_at(row, first)] = block.scale;
  std::copy_n(block.scale_codes, count, q.scale_codes.begin() + int64_t(at));
  if (q.offset_codes.empty()) return;
  q.outer_offsets[q.outer_at(row, first)] = block.offset;
  std::copy_n(block.offset_codes, count, q.offset_codes.begin() + int64_t(at));
}

}  // namespace

void decode_blocks(Encoding encoding, const std::byte* blocks, int64_t count, float* out) {
  const BlockType* type = type_of(encoding);
  EDGEQ_CHECK(type != nullptr, "decode_blocks gets a block encoding");
  const BlockSize size = block_size(encoding);
  const QuantScheme scheme = parse_scheme(type->scheme);
  const auto* in = reinterpret_cast<const uint8_t*>(blocks);
  Block block;
  for (int64_t b = 0; b < count; ++b, in += size.bytes) {
    type->read(in, block);
    for (int64_t g = 0; g < size.elements / scheme.group; ++g, out += scheme.group)
      dequantize_group(scheme, group_values(scheme, block, g),
                       {block.codes + g * scheme.group, size_t(scheme.group)}, out);
  }
}

std::optional<QuantScheme> block_scheme(Encoding encoding) {
  const BlockType* type = type_of(encoding);
  return type == nullptr ? std::nullopt : std::optional(parse_scheme(type->scheme));
}

std::optional<Encoding> block_encoding(const QuantScheme& scheme) {
  const BlockType* type = type_of(scheme);
  return type == nullptr ? std::nullopt : std::optional(type->encoding);
}

std::vector<std::byte> encode_blocks(const QuantizedTensor& tensor) {
  const BlockType* type = type_of(tensor.scheme);
  if (type == nullptr)
    throw Error(fmt::format("scheme {} has no GGUF block encoding; expected that of {}",
                            scheme_text(tensor.scheme), known_types()));
  const BlockSize size = block_size(type->encoding);
  const int64_t groups = size.elements / tensor.scheme.group;
  std::vector<std::byte> bytes(size_t(tensor.rows * tensor.cols / size.elements * size.bytes));
  auto* out = reinterpret_cast<uint8_t*>(bytes.data());
  std::vector<uint8_t> codes(size_t(tensor.cols));
  for (int64_t r = 0; r < tensor.rows; ++r) {
    tensor.get_codes(r, codes);
    for (int64_t c = 0; c < tensor.cols; c += size.elements, out += size.bytes) {
      Block block = take_block(tensor, r, c / tensor.scheme.group, groups);
      std::copy_n(codes.begin() + c, size.elements, block.codes);
      type->write(block, out);
    }
  }
  return bytes;
}

QuantizedTensor quantized_from_blocks(const EncodedTensor& tensor) {
  const BlockType* type = type_of(tensor.encoding);
  if (type == nullptr || tensor.shape.size() != 2)
    throw Error(fmt::format("{} is {} {}; expected a matrix in one of {}", tensor.name,
                            encoding_name(tensor.encoding), shape_text(tensor.shape), known_types()));
  const BlockSize size = block_size(tensor.encoding);
  QuantizedTensor out(parse_scheme(type->scheme), tensor.shape[0], tensor.shape[1]);
  const int64_t groups = size.elements / out.scheme.group;
  const auto* in = reinterpret_cast<const uint8_t*>(tensor.data);
  std::vector<uint8_t> codes(size_t(out.cols));
  Block block;
  for (int64_t r = 0; r < out.rows; ++r) {
    for (int64_t c = 0; c < out.cols; c += size.elements, in += size.bytes) {
      type->read(in, block);
      put_block(block, out, r, c / out.scheme.group, groups);
      std::copy_n(block.codes, size.elements, codes.begin() + c);
    }
    out.set_codes(r, codes);
  }
  return out;
}

}  // namespace edgeq
