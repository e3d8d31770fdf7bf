// SPDX-License-Identifier: Apache-2.0
// Text -> tokens -> windows. The one definition of windows, shared by calibration, perplexity and divergence.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer.h"

namespace edgeq {

struct Corpus {
  std::string name;                // file name without folder, for reports
  std::string hash;                // content hash of the text
  std::vector<TokenId> tokens;     // whole text, no BOS, special spellings not parsed
  std::vector<int64_t> documents;  // where each begins in `tokens`, ascending
};

// A UTF-8 text file, which is one document, or JSON lines (*.jsonl), each of them a document: its string
// values joined by blank lines, with a blank line to the next. Error: unreadable, empty.
Corpus read_corpus(const std::string& path, const Tokenizer& tokenizer);
// The same for JSON lines in memory.
Corpus corpus_of_json_lines(const std::string& name, std::string_view lines, const Tokenizer& tokenizer);

// What may stand before any text: BOS or, as lm-evaluation-harness has it, what ends the text before. None:
// the tokenizer has neither.
std::optional<TokenId> opening_token(const Tokenizer& tokenizer);

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

// The same as the model expects its input: where it begins with BOS, every window and every document does,
// BOS being one of a window's tokens.
Windows cut_input_windows(const Corpus& corpus, const Tokenizer& tokenizer, int64_t length, int64_t count);

// The share of the tokens of `text` that lie in a run of kSharedRun tokens which a window of `other` holds
// too.
constexpr int64_t kSharedRun = 32;
double shared_share(const Windows& text, const Windows& other);

}  // namespace edgeq
