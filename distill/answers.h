// SPDX-License-Identifier: Apache-2.0
// The answer of a text that a program can check: a number. After the last "####" of the text where there is
// one (the form of GSM8K: Cobbe et al., "Training Verifiers to Solve Math Word Problems", arXiv 2110.14168),
// the first number on that line; else the last number of the text.
//
// Numbers are compared by value: 1,000 and 1000, 3.50 and 3.5, $5 and 5, 50 % and 50, 6/4, 3/2, 1 1/2 and
// 1.5, 1e3 and 1000 are equal; a full stop behind a number is none of its digits, and a minus between two
// numbers ("48-24") no sign. Digits that continue a word ("H2O") are no number.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace edgeq {

struct Answer {  // numerator / denominator, reduced, denominator > 0
  int64_t numerator = 0, denominator = 1;
  friend bool operator==(const Answer&, const Answer&) = default;
};

// Nothing: no number there, or one that 64-bit fractions do not hold exactly.
std::optional<Answer> checkable_answer(std::string_view text);

}  // namespace edgeq
