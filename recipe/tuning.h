// SPDX-License-Identifier: Apache-2.0
// The options of a recipe's `tune:`: what is trained after the blocks are quantized, and for how long
// (recipe/tune.h).
#pragma once

#include <cstdint>
#include <string>

#include "core/options.h"

namespace edgeq {

struct Tuning {
  enum class Scales : uint8_t { none, rows, groups };  // what shares a factor; see recipe/factors.h
  Scales scales = Scales::groups;
  bool offsets = true;   // of schemes that have them
  bool norms = true;     // gains, and biases where there are any
  double rate = 1e-3;    // of the first step, relative to what is trained; falls as a cosine
  int64_t epochs = 1;    // passes over the windows
  int64_t batch = 2;     // windows of a step
  int64_t windows = 64;  // of the calibration text, behind those that are calibrated on
  int64_t heldout = 0;   // of them, measured and not trained on: the last; 0: one of eight
  int64_t checks = 4;    // how often those are measured in an epoch
  int64_t patience = 2;  // checks without a new best before it stops
};

// Options of these names. Throws Error for another name, a value out of range, or where nothing is left to
// train, or to train on.
Tuning make_tuning(const Options& options);

int64_t heldout_windows(const Tuning& tuning);
int64_t steps_per_epoch(const Tuning& tuning);

std::string tuned_text(const Tuning& tuning);  // "a scale per group, norms"

}  // namespace edgeq
