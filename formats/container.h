// SPDX-License-Identifier: Apache-2.0
// What every tensor container offers: named tensors with shapes, and text metadata. Readers look into a
// mapped file and never copy; every length in the file is checked against the file before it is believed.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/quantized_tensor.h"
#include "core/tensor.h"

namespace edgeq {

// How a tensor's bytes are encoded: a plain element type, one of GGUF's block encodings (see gguf_blocks.h),
// or a weight whose codes lie in several tensors of the file (see coded_layer.h).
enum class Encoding : uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  u8,
  i16,
  i32,
  i64,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  iq4_nl,
  q4_k,
  q5_k,
  q6_k,
  coded,  // codes, scales and zero points in tensors of their own: EncodedTensor::codes
};

std::string_view encoding_name(Encoding encoding);  // "F32", "Q4_1", ...
Encoding encoding_of(DType dtype);
bool is_plain(Encoding encoding);      // a DType, not a block encoding
DType plain_dtype(Encoding encoding);  // EDGEQ_CHECKs is_plain
// Elements and bytes of one block; {1, element size} for plain types.
struct BlockSize {
  int64_t elements, bytes;
};
BlockSize block_size(Encoding encoding);

// A weight that lies in several tensors, as seen by those who want the whole.
class StoredCodes {
 public:
  virtual ~StoredCodes() = default;
  // Its grid; nullopt when its groups are no grid that could be handed on.
  virtual std::optional<QuantScheme> scheme() const = 0;
  virtual QuantizedTensor read() const = 0;
  virtual std::vector<std::span<const std::byte>> parts() const = 0;
};

struct EncodedTensor {
  std::string name;
  Encoding encoding = Encoding::f32;
  Shape shape;                      // outermost first (GGUF's order is reversed on reading)
  const std::byte* data = nullptr;  // into the mapped file, any alignment
  int64_t bytes = 0;
  const StoredCodes* codes = nullptr;  // Encoding::coded, which has no data and bytes of its own
};

class TensorReader {
 public:
  virtual ~TensorReader() = default;
  virtual const std::string& path() const = 0;
  // All tensors, in file order; sharded checkpoints in shard order.
  virtual const std::vector<EncodedTensor>& tensors() const = 0;
  // nullptr when absent.
  virtual const EncodedTensor* find(std::string_view name) const = 0;
};

// Decodes any float encoding, or codes, to f32. Throws Error (with the tensor's name) for integer types.
Tensor decode_tensor(const EncodedTensor& tensor);
// Rows [first, first + count) of a matrix only (embedding rows, blocks of a huge table). out: [count, cols].
void decode_rows(const EncodedTensor& tensor, int64_t first, int64_t count, MatrixView<float> out);

}  // namespace edgeq
