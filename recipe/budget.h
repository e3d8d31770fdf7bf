// SPDX-License-Identifier: Apache-2.0
// How large a compressed model may become: bytes of the whole file, or bits per weight over all sites.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace edgeq {

// Windows of the calibration text on which the choice is prepared, from its beginning
// (recipe/sensitivity.h): more change little, and the residual stream of all of them is held in memory.
inline constexpr int64_t kSensitivityWindows = 8;

// Exactly one of the two is not 0.
struct Budget {
  int64_t bytes = 0;           // of the file
  double bits_per_weight = 0;  // of all sites together
};

// "80MB", "1.5 GB", "640kB", "123456789" or "123456789 B"; units are decimal, as files are sold. Throws
// Error.
int64_t parse_bytes(std::string_view text);
// Bytes, or "4.4bpw". Throws Error.
Budget parse_budget(std::string_view text);
// In (0, 32]. Throws Error.
double parse_bits_per_weight(std::string_view text);

std::string budget_text(const Budget& budget);  // "80.0 MB", "4.4 bits per weight"

}  // namespace edgeq
