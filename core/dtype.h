// SPDX-License-Identifier: Apache-2.0
// Element types of plain tensors. Block-quantized encodings of other tools are not element types: they live
// in `formats`.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace edgeq {

enum class DType : uint8_t { f32, f16, bf16, f64, i8, u8, i16, i32, i64 };

// Bytes of one element.
constexpr int64_t dtype_bytes(DType type) {
  switch (type) {
    case DType::i8:
    case DType::u8: return 1;
    case DType::f16:
    case DType::bf16:
    case DType::i16: return 2;
    case DType::f32:
    case DType::i32: return 4;
    case DType::f64:
    case DType::i64: return 8;
  }
  return 0;
}

constexpr bool is_floating(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16 || type == DType::f64;
}

// Names as safetensors writes them: "F32", "BF16", "U8", ...
std::string_view dtype_name(DType type);
std::optional<DType> parse_dtype(std::string_view name);

}  // namespace edgeq
