// SPDX-License-Identifier: Apache-2.0
// Runs the pre-tokenizer steps: cuts a text into the pieces that merge on their own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer_data.h"
#include "models/tokenizer_pattern.h"

namespace edgeq {

// Pieces of one buffer, in order; none is empty.
struct TextPieces {
  std::string buffer;
  std::vector<TextRange> ranges;
  std::string_view operator[](size_t i) const {
    return std::string_view(buffer).substr(ranges[i].begin, ranges[i].end - ranges[i].begin);
  }
};

class PreTokenizer {
 public:
  explicit PreTokenizer(const std::vector<PreTokenizeStep>& steps);

  // `starts_text`: this is the beginning of what the user gave (for steps that act only there).
  TextPieces run(std::string text, bool starts_text) const;

 private:
  struct Step {
    PreTokenizeStep data;
    std::optional<Pattern> pattern;
  };
  std::vector<Step> steps_;
};

}  // namespace edgeq
