// SPDX-License-Identifier: Apache-2.0
// What tuning did: the divergence from the float model step by step, on the windows that it trained on and on
// those that it never saw. KL is the mean over all tokens of the windows, in nats.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edgeq {

// The held-out windows with the floats that would ship at this point, rounded as they are stored.
struct HeldoutPoint {
  int64_t step = 0;
  float kl = 0;
};

struct TuneReport {
  std::string what;                          // "a scale per group, norms"
  int64_t windows = 0, heldout_windows = 0;  // trained on; measured
  int64_t steps = 0;                         // planned
  std::vector<float> train;                  // of each step's windows before it, as far as it came
  std::vector<HeldoutPoint> heldout;         // the first is where it started
  int64_t kept = 0;                          // index into `heldout`; 0: nothing was better than the start
  std::string stopped;                       // why before the last step, "" when it went through
};

// "KL on held-out windows 1.2345 -> 1.0123 at step 42 of 56"
std::string tune_summary(const TuneReport& report);

}  // namespace edgeq
