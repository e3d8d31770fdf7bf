// SPDX-License-Identifier: Apache-2.0
// Text -> tokens -> windows. The one definition of windows, shared by calibration, perplexity and divergence.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer.h"

namespace edgeq {

struct Corpus {
  std::string name;             // file name without folder, for reports
  std::string hash;             // content hash of the text
  std::vector<TokenId> tokens;  // whole text, no BOS, special spellings not parsed
};

// A UTF-8 text file, or JSON lines (*.jsonl) whose string values are joined by blank lines. Error:
// unreadable, empty.
Corpus read_corpus(const std::string& path, const Tokenizer& tokenizer);

struct Windows {
  int64_t length = 0;  // tokens of each window
  std::vector<TokenId> tokens;
  int64_t count() const { return length == 0 ? 0 : int64_t(tokens.size()) / length; }
  std::span<const TokenId> operator[](int64_t i) const {
    return std::span(tokens).subspan(size_t(i * length), size_t(length));
  }
};

// The first `count` non-overlapping windows of `length` tokens (count 0: all that fit). Throws Error when
// fewer fit, saying how many tokens there are and how many are needed.
Windows cut_windows(const Corpus& corpus, int64_t length, int64_t count);

}  // namespace edgeq
