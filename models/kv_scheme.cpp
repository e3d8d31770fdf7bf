// SPDX-License-Identifier: Apache-2.0
#include "models/kv_scheme.h"

#include <fmt/format.h>

#include "core/error.h"

namespace edgeq {

std::string kv_scheme_text(const KvScheme& scheme) {
  if (scheme.keys == scheme.values && !has_codes(scheme.keys))
    return fmt::format("f{}", kv_bits(scheme.keys));
  return fmt::format("k{}v{}", kv_bits(scheme.keys), kv_bits(scheme.values));
}

KvScheme parse_kv_scheme(std::string_view text) {
  constexpr KvType kTypes[] = {KvType::f32, KvType::f16, KvType::int8, KvType::int4};
  for (const KvType keys : kTypes)
    for (const KvType values : kTypes)
      if (const KvScheme scheme{keys, values}; kv_scheme_text(scheme) == text) return scheme;
  throw Error(
      fmt::format("KV cache \"{}\"; expected f32, f16, or bits of keys and values as in k8v8, k8v4, k4v4 "
                  "(each 32, 16, 8 or 4)",
                  text));
}

}  // namespace edgeq
