// SPDX-License-Identifier: Apache-2.0
// --kv: how keys and values are kept (models/kv_scheme.h).
#pragma once

#include <optional>
#include <string>

#include "models/kv_scheme.h"

namespace edgeq {

inline constexpr const char* kKvHelp =
    "keys and values of the cache: f32, f16, or their bits, as k8v8, k8v4, k4v4 (llama.cpp's -ctk q8_0 -ctv\n"
    "q4_1 is k8v4); default: what a packed file says, else f32";

// "" means the model's own. Throws Error for what parse_kv_scheme() refuses.
inline std::optional<KvScheme> parse_kv_option(const std::string& text) {
  if (text.empty()) return std::nullopt;
  return parse_kv_scheme(text);
}

}  // namespace edgeq
