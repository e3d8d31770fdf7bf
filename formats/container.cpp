// SPDX-License-Identifier: Apache-2.0
#include "formats/container.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "core/error.h"
#include "formats/gguf_blocks.h"

namespace edgeq {
namespace {

constexpr struct Row {
  Encoding encoding;
  std::string_view name;
  BlockSize block;
} kEncodings[] = {
    {Encoding::f32, "F32", {1, 4}},         {Encoding::f16, "F16", {1, 2}},
    {Encoding::bf16, "BF16", {1, 2}},       {Encoding::f64, "F64", {1, 8}},
    {Encoding::i8, "I8", {1, 1}},           {Encoding::u8, "U8", {1, 1}},
    {Encoding::i16, "I16", {1, 2}},         {Encoding::i32, "I32", {1, 4}},
    {Encoding::i64, "I64", {1, 8}},         {Encoding::q4_0, "Q4_0", {32, 18}},
    {Encoding::q4_1, "Q4_1", {32, 20}},     {Encoding::q5_0, "Q5_0", {32, 22}},
    {Encoding::q5_1, "Q5_1", {32, 24}},     {Encoding::q8_0, "Q8_0", {32, 34}},
    {Encoding::iq4_nl, "IQ4_NL", {32, 18}}, {Encoding::q4_k, "Q4_K", {256, 144}},
    {Encoding::q5_k, "Q5_K", {256, 176}},   {Encoding::q6_k, "Q6_K", {256, 210}},
    {Encoding::coded, "codes", {1, 0}},
};

constexpr bool in_enum_order() {
  for (size_t i = 0; i < std::size(kEncodings); ++i)
    if (size_t(kEncodings[i].encoding) != i) return false;
  return true;
}
static_assert(in_enum_order());

const Row& row_of(Encoding encoding) { return kEncodings[size_t(encoding)]; }

int64_t rows_of(const Shape& shape) { return shape.size() < 2 ? 1 : shape[0]; }

void decode_codes(const EncodedTensor& tensor, int64_t first, int64_t count, MatrixView<float> out) {
  const QuantizedTensor q = tensor.codes->read();
  std::vector<uint8_t> codes(size_t(q.cols));
  for (int64_t r = 0; r < count; ++r) dequantize_row(q, first + r, codes, out.row(r));
}

// Elements [first, first + count) of a tensor, on block boundaries, as f32.
void decode_elements(const EncodedTensor& tensor, int64_t first, int64_t count, float* out) {
  const BlockSize block = block_size(tensor.encoding);
  const std::byte* from = tensor.data + first / block.elements * block.bytes;
  if (!is_plain(tensor.encoding)) {
    decode_blocks(tensor.encoding, from, count / block.elements, out);
    return;
  }
  with_context(tensor.name, [&] {
    const Tensor converted = to_f32({plain_dtype(tensor.encoding), {count}, from});
    std::memcpy(out, converted.data(), size_t(converted.bytes()));
  });
}

}  // namespace

std::string_view encoding_name(Encoding encoding) { return row_of(encoding).name; }

Encoding encoding_of(DType dtype) {
  static_assert(int(DType::f32) == int(Encoding::f32) && int(DType::i64) == int(Encoding::i64));
  return Encoding(uint8_t(dtype));  // the plain encodings come first, in the order of DType
}

bool is_plain(Encoding encoding) { return encoding <= Encoding::i64; }

DType plain_dtype(Encoding encoding) {
  EDGEQ_CHECK(is_plain(encoding), "a plain encoding has a dtype");
  return DType(uint8_t(encoding));
}

BlockSize block_size(Encoding encoding) { return row_of(encoding).block; }

Tensor decode_tensor(const EncodedTensor& tensor) {
  if (is_plain(tensor.encoding))
    return with_context(tensor.name, [&] {
      return to_f32({plain_dtype(tensor.encoding), tensor.shape, tensor.data});
    });
  Tensor out(DType::f32, tensor.shape);
  if (tensor.encoding == Encoding::coded) {
    decode_codes(tensor, 0, out.rows(), out.matrix());
    return out;
  }
  decode_elements(tensor, 0, out.size(), out.f32());
  return out;
}

void decode_rows(const EncodedTensor& tensor, int64_t first, int64_t count, MatrixView<float> out) {
  const int64_t rows = rows_of(tensor.shape);
  const int64_t cols = rows == 0 ? 0 : element_count(tensor.shape) / rows;
  EDGEQ_CHECK(first >= 0 && count >= 0 && first <= rows && count <= rows - first, "decode_rows stays inside");
  EDGEQ_CHECK(out.rows == count && out.cols == cols, "decode_rows gets a matrix of the rows' shape");
  if (tensor.encoding == Encoding::coded) return decode_codes(tensor, first, count, out);
  for (int64_t r = 0; r < count; ++r) decode_elements(tensor, (first + r) * cols, cols, out.row(r));
}

}  // namespace edgeq
