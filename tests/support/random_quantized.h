// SPDX-License-Identifier: Apache-2.0
// A quantized weight of any scheme: random codes, scales, zeros and offsets, all that the scheme allows.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/quantized_tensor.h"
#include "core/random.h"

namespace edgeq {

inline QuantizedTensor random_quantized(const QuantScheme& scheme, int64_t rows, int64_t cols,
                                        Random& random) {
  QuantizedTensor q(scheme, rows, cols);
  const uint64_t levels = uint64_t(scheme.max_code()) + 1;
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    for (uint8_t& code : codes) code = uint8_t(random.below(levels));
    q.set_codes(r, codes);
  }
  const auto some = [&](double size) { return round_to_store(float(size * random.normal()), scheme.store); };
  const bool u6 = scheme.store == ScaleStore::u6_super;
  std::ranges::generate(q.scales, [&] { return some(0.02); });
  std::ranges::generate(q.zeros, [&] { return uint8_t(random.below(levels)); });
  std::ranges::generate(q.offsets, [&] { return some(0.1); });
  std::ranges::generate(q.scale_codes,
                        [&] { return int8_t(u6 ? int(random.below(64)) : int(random.below(255)) - 127); });
  std::ranges::generate(q.offset_codes, [&] { return int8_t(random.below(64)); });
  std::ranges::generate(q.outer_scales, [&] { return some(0.001); });
  std::ranges::generate(q.outer_offsets, [&] { return some(0.002); });
  return q;
}

// Texts of all kinds of scheme: every width, zero, store and table, groups of each size that layouts treat
// differently.
inline const std::vector<std::string>& all_scheme_texts() {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> list;
    for (int bits = 2; bits <= 8; ++bits)
      for (const std::string group : {"-g32", "-g64", "-channel"}) {
        const std::string levels = "int" + std::to_string(bits) + group;
        for (const char* zero : {"-sym", "-asym", "-offset"})
          for (const char* store : {"", "-f16", "-f32"}) list.push_back(levels + zero + store);
        if (group == "-channel") continue;
        for (const char* end : {"-s8", "-asym-s8"}) list.push_back(levels + end);
      }
    for (const char* text : {"iq4nl-g32", "iq4nl-g64", "iq4nl-g32-f32", "iq4nl-g32-s8", "iq4nl-g64-s8",
                             "iq4nl-channel", "iq4nl-channel-f16", "q4_k", "q5_k", "q6_k"})
      list.emplace_back(text);
    return list;
  }();
  return texts;
}

}  // namespace edgeq
