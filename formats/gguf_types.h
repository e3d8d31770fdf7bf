// SPDX-License-Identifier: Apache-2.0
// The numbers that GGUF gives to metadata types and tensor encodings.
#pragma once

#include <cstdint>
#include <string_view>

#include "formats/container.h"

namespace edgeq {

// In the order of the format's numbers.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

inline constexpr int64_t kGgufAlignment = 32;  // of tensor data, unless general.alignment says otherwise

std::string_view gguf_type_name(GgufType type);
// Bytes of one value; 0 for strings and arrays, whose length varies.
uint64_t gguf_type_bytes(GgufType type);

// The number of an encoding in tensor infos. Both throw Error, naming the type, for what the other side lacks
// (Q2_K, the IQ types, ...; U8).
Encoding encoding_of_ggml_type(uint32_t type);
uint32_t ggml_type_of(Encoding encoding);

}  // namespace edgeq
