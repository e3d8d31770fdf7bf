// SPDX-License-Identifier: Apache-2.0
// How long work reports itself: one callback, given by the caller, so that libraries never print.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace edgeq {

// step: what is being done ("quantize", "perplexity"); done of total units are finished.
using Progress = std::function<void(std::string_view step, int64_t done, int64_t total)>;

inline void report_progress(const Progress& progress, std::string_view step, int64_t done, int64_t total) {
  if (progress) progress(step, done, total);
}

}  // namespace edgeq
