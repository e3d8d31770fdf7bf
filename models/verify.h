// SPDX-License-Identifier: Apache-2.0
// Whether a file holds what it should: a written file against the codes it was written from, and a foreign
// file against what its structure, or a reference, gives away.
#pragma once

#include <string>
#include <vector>

#include "models/coded_model.h"

namespace edgeq {

// Reads every weight as floats, through the decoder that engines use and writers do not, and compares it
// number for number with what the codes mean; also norms, biases, the shape of the model and the ids that the
// tokenizer gives. Throws Error naming the first difference. Context length and windows may differ (a
// target's notes say so); 0 and -0 are equal.
void verify_equal(const Checkpoint& file, const CodedModel& expected);

// Reads every tensor (a number that is NaN or Inf is an Error) and says in sentences what looks wrong: groups
// whose scale is 0, a tokenizer and an embedding that do not fit, and q and k rows whose norms pair up in the
// other rotary order. The last is a guess from statistics: trained rows that turn together have alike norms.
std::vector<std::string> diagnose(const Checkpoint& file);

// What a reference with the same shape gives away, beyond rounding: rows of q and k in the other order,
// weights that are off by one step of their grid everywhere (GPTQ's version 1 zero points read as version 2,
// or the reverse), weights that have nothing to do with each other, other token ids. Throws Error for another
// shape.
std::vector<std::string> diagnose_against(const Checkpoint& file, const Checkpoint& reference);

}  // namespace edgeq
