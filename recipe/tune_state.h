// SPDX-License-Identifier: Apache-2.0
// Where a training stands, as the journal keeps it between steps.
#pragma once

#include <cstdint>
#include <vector>

#include "eval/tune_report.h"
#include "recipe/journal.h"

namespace edgeq {

enum class TuneStop : uint8_t { no, patience, not_finite };

struct TuneState {
  std::vector<float> factors, best;   // what is trained; the best on held-out windows
  std::vector<float> mean, square;    // of gradients so far (distill/adam.h)
  std::vector<float> train;           // KL of each step so far
  std::vector<HeldoutPoint> heldout;  // the first before any step
  int64_t kept = 0;                   // index into heldout: where `best` is from
  TuneStop stop = TuneStop::no;

  // At the start: all factors 0.
  explicit TuneState(int64_t factors);
  // What a journal's part holds. Throws Error when it is not of so many factors.
  TuneState(const PartResult& part, int64_t factors);

  int64_t steps() const { return std::ssize(train); }
  // Takes the factors' figure on held-out windows in, and stops after `patience` that were not the best.
  void measured(float kl, int64_t patience);
  PartResult as_part(const std::string& name) const;
};

}  // namespace edgeq
