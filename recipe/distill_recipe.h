// SPDX-License-Identifier: Apache-2.0
// What the recipe of `edgeq distill` says: teacher, student, data, losses, training, output
// (docs/distillation.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "distill/trainer.h"
#include "recipe/training_spec.h"

namespace edgeq {

// Of a student that is made anew: the teacher's config with these numbers in place of its own; 0: the same.
struct StudentShape {
  int64_t layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0;
};

struct StudentSpec {
  std::string model;  // begins as this one; or, when empty, as `shape`:
  StudentShape shape;
  bool from_teacher = false;  // the teacher's tables and evenly chosen layers, else at random
  AdapterSpec adapters;
  std::optional<QuantScheme> scheme;  // quantization-aware: sites of blocks are trained through this grid
  std::optional<Activations> inputs;  // of sites with codes, rounded in training too; none: as the model says
};

struct DistillRecipe {
  std::string name, title, teacher, target;  // target: "" as the student is
  StudentSpec student;
  TrainingSpec training;
};

// Throw Error beginning "recipe FILE:LINE: ".
DistillRecipe parse_distill_recipe(std::string_view yaml, const std::string& file);
DistillRecipe load_distill_recipe(const std::string& path);

}  // namespace edgeq
