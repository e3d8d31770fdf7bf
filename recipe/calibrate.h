// SPDX-License-Identifier: Apache-2.0
// The calibration text of a recipe, read and cut, with the key that its statistics are cached under.
#pragma once

#include "calibration/stats_file.h"
#include "models/corpus.h"
#include "models/import.h"
#include "recipe/recipe.h"

namespace edgeq {

struct Calibration {
  Corpus corpus;  // tokens dropped after cutting
  Windows windows;
};

// Throws Error when the text is missing, empty or too short for the windows asked for.
Calibration read_calibration(const CalibrationSpec& spec, const Tokenizer& tokenizer);

StatsKey stats_key(const Checkpoint& checkpoint, const Calibration& calibration);

}  // namespace edgeq
