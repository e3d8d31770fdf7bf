// SPDX-License-Identifier: Apache-2.0
// The calibration text of a recipe, read and cut, with the key that its statistics are cached under.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/stats_file.h"
#include "models/corpus.h"
#include "models/import.h"
#include "recipe/recipe.h"

namespace edgeq {

struct CalibrationText {
  std::string name, hash;
};

struct Calibration {
  std::vector<CalibrationText> texts;  // in the order of the recipe
  Windows windows;                     // of the texts in turn
  Windows tuning;                      // those that follow, which nothing is calibrated on

  std::string name() const;  // "a.txt + default"
  std::string hash() const;  // of one text its own, of several that of their hashes
};

// Text that the model itself writes: so many windows of so many tokens.
using WriteWindows = std::function<Windows(int64_t count, int64_t length)>;

// Windows of the texts of a recipe as the model expects its input; several texts share the windows and give
// them in turn; so many more are read for tuning. Without a text: of the default corpus. Throws Error when a
// text is missing, empty or too short for its windows, there are fewer windows than texts, or `self` is asked
// for and cannot be had.
Calibration read_calibration(const CalibrationSpec& spec, const Tokenizer& tokenizer,
                             const WriteWindows& self = {}, int64_t tuning_windows = 0);

StatsKey stats_key(const Checkpoint& checkpoint, const Calibration& calibration);

// The corpus that comes with edgeq, as JSON lines (configs/calibration).
std::string_view default_corpus();

}  // namespace edgeq
