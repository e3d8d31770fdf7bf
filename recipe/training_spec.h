// SPDX-License-Identifier: Apache-2.0
// What a training reads and does: of `edgeq distill`, and of the stage `heal:` of a recipe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "distill/spec.h"

namespace edgeq {

struct TrainingData {
  std::vector<std::string> texts, traces;   // .txt, .jsonl
  std::vector<std::string> held_out_texts;  // empty: a share of the data
  int64_t length = 512;                     // tokens of a sequence, at most
  double held_out = 0.02;
  int64_t held_out_sequences = 32;  // measured at each look, at most
  bool chat = false;                // traces through the model's chat template

  bool empty() const { return texts.empty() && traces.empty(); }
};

struct TrainingSpec {
  TrainingData data;
  TrainSpec train;
  std::string cache_folder;  // of TrainSpec::teacher_cache; "": in the folder of checkpoints
};

}  // namespace edgeq
