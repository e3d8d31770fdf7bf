// SPDX-License-Identifier: Apache-2.0
// How the runtime keeps keys and values: each as floats or as codes (runtime/kv_panels.h has the formula).
//   text    keys and values                     as llama.cpp says it
//   f32     f32                                  -ctk f32 -ctv f32
//   f16     f16                                  -ctk f16 -ctv f16
//   k8v8    int8                                 -ctk q8_0 -ctv q8_0
//   k8v4    int8 keys, int4 values               -ctk q8_0 -ctv q4_1
//   k16v8   f16 keys, int8 values; and so on: k and v with any of 32, 16, 8, 4
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace edgeq {

enum class KvType : uint8_t { f32, f16, int8, int4 };

constexpr int kv_bits(KvType type) {
  return type == KvType::f32 ? 32 : type == KvType::f16 ? 16 : type == KvType::int8 ? 8 : 4;
}
constexpr bool has_codes(KvType type) { return type == KvType::int8 || type == KvType::int4; }

struct KvScheme {
  KvType keys = KvType::f32, values = KvType::f32;
  friend bool operator==(const KvScheme&, const KvScheme&) = default;
};

std::string kv_scheme_text(const KvScheme& scheme);
// Throws Error for a text that kv_scheme_text() does not give.
KvScheme parse_kv_scheme(std::string_view text);

}  // namespace edgeq
