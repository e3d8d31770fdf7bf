// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf_blocks.h"

#include <fmt/format.h>

#include <cstring>

#include "core/error.h"
#include "core/half.h"

namespace edgeq {
namespace {

constexpr int64_t kSmall = 32;  // weights of a Q4_0..Q8_0 block
constexpr int64_t kSub = 32;    // weights of a sub-block of Q4_K and Q5_K

float half_at(const uint8_t* bytes) {
  return f16_to_f32(uint16_t(unsigned(bytes[0]) | unsigned(bytes[1]) << 8));
}

uint32_t word_at(const uint8_t* bytes) {
  return uint32_t(bytes[0]) | uint32_t(bytes[1]) << 8 | uint32_t(bytes[2]) << 16 | uint32_t(bytes[3]) << 24;
}

void put_half(float value, uint8_t* bytes) {
  const uint16_t half = f32_to_f16(value);
  bytes[0] = uint8_t(half & 0xff);
  bytes[1] = uint8_t(half >> 8);
}

// Nibbles of a small block: low ones are codes 0..15, high ones 16..31.
void split_nibbles(const uint8_t* in, uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = in[j] & 15;
    codes[j + 16] = in[j] >> 4;
  }
}

void join_nibbles(const uint8_t* codes, uint8_t* out) {
  for (int j = 0; j < 16; ++j) out[j] = uint8_t(codes[j] | codes[j + 16] << 4);
}

// Codes of a Q5 block: nibbles and a word of fifth bits.
void five_bit_codes(const uint8_t* high, const uint8_t* nibbles, uint8_t* codes) {
  split_nibbles(nibbles, codes);
  const uint32_t fifth = word_at(high);
  for (int j = 0; j < kSmall; ++j) codes[j] = uint8_t(codes[j] | ((fifth >> j) & 1) << 4);
}

void centred(const uint8_t* codes, float d, int zero, float* out) {
  for (int j = 0; j < kSmall; ++j) out[j] = d * float(codes[j] - zero);
}

void affine(const uint8_t* codes, float d, float m, float* out) {
  for (int j = 0; j < kSmall; ++j) out[j] = d * float(codes[j]) + m;
}

void decode_q4_0(const uint8_t* in, float* out) {
  uint8_t codes[kSmall];
  split_nibbles(in + 2, codes);
  centred(codes, half_at(in), 8, out);
}

void decode_q4_1(const uint8_t* in, float* out) {
  uint8_t codes[kSmall];
  split_nibbles(in + 4, codes);
  affine(codes, half_at(in), half_at(in + 2), out);
}

void decode_q5_0(const uint8_t* in, float* out) {
  uint8_t codes[kSmall];
  five_bit_codes(in + 2, in + 6, codes);
  centred(codes, half_at(in), 16, out);
}

void decode_q5_1(const uint8_t* in, float* out) {
  uint8_t codes[kSmall];
  five_bit_codes(in + 4, in + 8, codes);
  affine(codes, half_at(in), half_at(in + 2), out);
}

void decode_q8_0(const uint8_t* in, float* out) {
  const float d = half_at(in);
  for (int j = 0; j < kSmall; ++j) out[j] = d * float(int8_t(in[2 + j]));
}

// Scale and minimum of sub-block j: 6 bits each, eight of both in 12 bytes.
struct ScaleMin {
  int scale, min;
};
ScaleMin scale_min(const uint8_t* s, int j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4};
}

// Q4_K and Q5_K: 64 weights share 32 bytes of nibbles, low ones first; bit j of high[l] is the fifth bit of
// weight l of sub-block j.
void decode_k(const uint8_t* in, const uint8_t* high, const uint8_t* nibbles, float* out) {
  const float d = half_at(in), dmin = half_at(in + 2);
  for (int j = 0; j < 8; ++j) {
    const auto [scale, min] = scale_min(in + 4, j);
    const float step = d * float(scale), base = dmin * float(min);
    const uint8_t* bytes = nibbles + j / 2 * kSub;
    for (int l = 0; l < kSub; ++l) {
      int code = j % 2 == 0 ? bytes[l] & 15 : bytes[l] >> 4;
      if (high != nullptr) code |= ((high[l] >> j) & 1) << 4;
      out[j * kSub + l] = step * float(code) - base;
    }
  }
}

void decode_q4_k(const uint8_t* in, float* out) { decode_k(in, nullptr, in + 16, out); }
void decode_q5_k(const uint8_t* in, float* out) { decode_k(in, in + 16, in + 48, out); }

void decode_q6_k(const uint8_t* in, float* out) {
  const float d = half_at(in + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = in + half * 64;
    const uint8_t* high = in + 128 + half * 32;
    const uint8_t* scales = in + 192 + half * 8;
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int l = 0; l < 32; ++l) {
        const int nibbles = low[quarter % 2 * 32 + l];
        const int code = (quarter < 2 ? nibbles & 15 : nibbles >> 4) | ((high[l] >> (2 * quarter)) & 3) << 4;
        const float step = d * float(int8_t(scales[quarter * 2 + l / 16]));
        out[half * 128 + quarter * 32 + l] = step * float(code - 32);
      }
    }
  }
}

using DecodeBlock = void (*)(const uint8_t*, float*);

DecodeBlock decoder_of(Encoding encoding) {
  switch (encoding) {
    case Encoding::q4_0: return decode_q4_0;
    case Encoding::q4_1: return decode_q4_1;
    case Encoding::q5_0: return decode_q5_0;
    case Encoding::q5_1: return decode_q5_1;
    case Encoding::q8_0: return decode_q8_0;
    case Encoding::q4_k: return decode_q4_k;
    case Encoding::q5_k: return decode_q5_k;
    case Encoding::q6_k: return decode_q6_k;
    default: return nullptr;
  }
}

// One block of a quantized weight: its 32 codes, scale and offset.
void encode_block(Encoding encoding, const uint8_t* codes, float scale, float offset, uint8_t* out) {
  put_half(scale, out);
  if (encoding == Encoding::q8_0) {
    for (int j = 0; j < kSmall; ++j) out[2 + j] = uint8_t(codes[j] - 128);  // stored signed
  } else if (encoding == Encoding::q4_0) {
    join_nibbles(codes, out + 2);
  } else {
    put_half(offset, out + 2);
    join_nibbles(codes, out + 4);
  }
}

}  // namespace

void decode_blocks(Encoding encoding, const std::byte* blocks, int64_t count, float* out) {
  const DecodeBlock decode = decoder_of(encoding);
  EDGEQ_CHECK(decode != nullptr, "decode_blocks gets a block encoding");
  const BlockSize size = block_size(encoding);
  const auto* in = reinterpret_cast<const uint8_t*>(blocks);
  for (int64_t b = 0; b < count; ++b) decode(in + b * size.bytes, out + b * size.elements);
}

std::optional<QuantScheme> block_scheme(Encoding encoding) {
  switch (encoding) {
    case Encoding::q4_0: return QuantScheme{.bits = 4, .group = 32};
    case Encoding::q4_1: return QuantScheme{.bits = 4, .group = 32, .zero = Zero::offset};
    case Encoding::q8_0: return QuantScheme{.bits = 8, .group = 32};
    default: return std::nullopt;
  }
}

std::optional<Encoding> block_encoding(const QuantScheme& scheme) {
  for (const Encoding encoding : {Encoding::q4_0, Encoding::q4_1, Encoding::q8_0})
    if (block_scheme(encoding) == scheme) return encoding;
  return std::nullopt;
}

std::vector<std::byte> encode_blocks(const QuantizedTensor& tensor) {
  const auto encoding = block_encoding(tensor.scheme);
  if (!encoding)
    throw Error(fmt::format("scheme {} has no GGUF block encoding; expected q4_0, q4_1 or q8_0",
                            scheme_text(tensor.scheme)));
  const int64_t block_bytes = block_size(*encoding).bytes;
  std::vector<std::byte> bytes(size_t(tensor.rows * tensor.groups() * block_bytes));
  auto* out = reinterpret_cast<uint8_t*>(bytes.data());
  std::vector<uint8_t> codes(size_t(tensor.cols));
  for (int64_t r = 0; r < tensor.rows; ++r) {
    tensor.get_codes(r, codes);
    for (int64_t g = 0; g < tensor.groups(); ++g, out += block_bytes)
      encode_block(*encoding, codes.data() + g * kSmall, tensor.scale(r, g), tensor.offset(r, g), out);
  }
  return bytes;
}

QuantizedTensor quantized_from_blocks(const EncodedTensor& tensor) {
  const auto scheme = block_scheme(tensor.encoding);
  if (!scheme || tensor.shape.size() != 2)
    throw Error(fmt::format("{} is {} {}; expected a matrix in Q4_0, Q4_1 or Q8_0", tensor.name,
                            encoding_name(tensor.encoding), shape_text(tensor.shape)));
  QuantizedTensor out(*scheme, tensor.shape[0], tensor.shape[1]);
  const auto* in = reinterpret_cast<const uint8_t*>(tensor.data);
  std::vector<uint8_t> codes(size_t(out.cols));
  for (int64_t r = 0; r < out.rows; ++r) {
    for (int64_t g = 0; g < out.groups(); ++g, in += block_size(tensor.encoding).bytes) {
      const auto at = size_t(r * out.groups() + g);
      out.scales[at] = half_at(in);
      uint8_t* to = codes.data() + g * kSmall;
      if (tensor.encoding == Encoding::q8_0) {
        for (int j = 0; j < kSmall; ++j) to[j] = uint8_t(in[2 + j] + 128);
      } else if (tensor.encoding == Encoding::q4_0) {
        split_nibbles(in + 2, to);
      } else {
        out.offsets[at] = half_at(in + 2);
        split_nibbles(in + 4, to);
      }
    }
    out.set_codes(r, codes);
  }
  return out;
}

}  // namespace edgeq
