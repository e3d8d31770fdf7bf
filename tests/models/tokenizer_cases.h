// SPDX-License-Identifier: Apache-2.0
// The tokenizers of tests/golden/tokenizers with what the Python packages make of a list of inputs
// (tests/golden/make_tokenizers.py).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/tokenizer.h"

namespace edgeq {

struct TokenizerCase {
  std::string text;            // bytes, not always valid UTF-8
  std::vector<TokenId> ids;    // special spellings parsed
  std::vector<TokenId> plain;  // and not parsed
  std::string decoded;         // of ids, special tokens left out
};

std::string read_test_file(const std::string& path);
std::string golden_folder();
// The tokenizer NAME.json or NAME.model, and its cases.
Tokenizer golden_tokenizer(const std::string& name);
std::vector<TokenizerCase> golden_cases(const std::string& name);

}  // namespace edgeq
