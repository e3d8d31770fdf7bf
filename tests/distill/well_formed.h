// SPDX-License-Identifier: Apache-2.0
// What every sequence promises, whatever it is made of; and the tokenizer of the tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "distill/sequences.h"

namespace edgeq {

inline Tokenizer tiny_tokenizer() {
  return Tokenizer::from_folder(std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama");
}

inline void expect_well_formed(const std::vector<Sequence>& sequences, int64_t length) {
  for (const Sequence& s : sequences) {
    EXPECT_LE(std::ssize(s.tokens), length);
    ASSERT_EQ(s.learned.size(), s.tokens.size());
    ASSERT_FALSE(s.documents.empty());
    EXPECT_EQ(s.documents.front(), 0);
    EXPECT_TRUE(std::ranges::is_sorted(s.documents, std::less_equal<>()));
    for (const int64_t d : s.documents) {
      ASSERT_LT(d, std::ssize(s.tokens));
      EXPECT_EQ(s.learned[size_t(d)], 0);
    }
  }
}

}  // namespace edgeq
