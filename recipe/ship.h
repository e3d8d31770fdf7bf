// SPDX-License-Identifier: Apache-2.0
// One set of codes -> one target, proved before it gets its name: written under a staged name, opened again
// with a reader that the writer does not share, compared number for number with the codes, run, and only then
// renamed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "formats/output_file.h"
#include "models/fitted_model.h"
#include "models/target.h"

namespace edgeq {

// Throws Error when the staged file does not compute what `expected` does.
using RunCheck = std::function<void(const std::string& staged, const CodedModel& expected)>;

struct ShipInputs {
  const CodedModel& source;
  const Target& target;
  std::string output;
  OutputFile::Existing existing = OutputFile::Existing::refuse;
  bool choose_anew = false;  // round to nearest on the target's grid where codes cannot be kept
  bool exact = false;        // refuse any weight that would change
  RunCheck run = {};         // empty: not run
};

struct Shipped {
  int64_t bytes = 0;
  std::vector<Verdict> verdicts;
  std::vector<std::string> notes;
};

// Codes for a weight in the form of `placed`, each rounded to its nearest: what choose_anew does.
QuantizedTensor round_to_nearest(const Tensor& weight, const Placed& placed);

// Throws Error; then nothing has changed under the output's name.
Shipped ship(const ShipInputs& in);

}  // namespace edgeq
