// SPDX-License-Identifier: Apache-2.0
// Small pieces of text handling that several folders need and the standard library lacks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace edgeq {

// "a,b,,c" by ',' -> {"a", "b", "", "c"}; the pieces look into `text`.
std::vector<std::string_view> split(std::string_view text, char separator);

// Glob with `*` (any run, also empty) and `?` (one character), against the whole of `text`.
bool glob_match(std::string_view pattern, std::string_view text);

// "91.7 MB", "1.2 kB": decimal units, as files are sold.
std::string bytes_text(int64_t bytes);
// "5 s", "3 min 20 s", "1 h 5 min".
std::string duration_text(double seconds);

// The name among `names` nearest to `word` by edit distance, when it is near enough to be a typing error.
std::optional<std::string> nearest_name(std::string_view word, const std::vector<std::string>& names);

}  // namespace edgeq
