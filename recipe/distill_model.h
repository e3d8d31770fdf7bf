// SPDX-License-Identifier: Apache-2.0
// From the recipe of a distillation to the trained model: what the student begins as, what both models share,
// the data, the training, and the output, which is proved before it gets its name.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/progress.h"
#include "distill/sequences.h"
#include "distill/trained_model.h"
#include "distill/trainer.h"
#include "models/import.h"
#include "recipe/cached_teacher.h"
#include "recipe/distill_recipe.h"
#include "recipe/ship.h"

namespace edgeq {

// The teacher's config with the student's numbers. Throws Error for one that cannot be.
ModelConfig student_config(const StudentShape& shape, const ModelConfig& teacher);

// How many tokens, the first ones, both models know: all of the tokenizer's where only padding rows differ.
// Throws Error with both numbers where the tokenizers are not the same.
int64_t common_vocab(const Tokenizer& student, int64_t student_rows, const Checkpoint& teacher);

// Training and held-out sequences of a model. Throws Error: unreadable, empty, nothing left to train on,
// longer than its context.
Dataset read_training_data(const TrainingData& data, const Checkpoint& model, uint64_t seed);

// What a training begins with.
struct Beginning {
  FloatModel student;
  Codes codes;                             // of sites that are trained through their rounding
  Activations inputs = Activations::f32;   // of those sites
  std::shared_ptr<const Checkpoint> like;  // whose tokenizer and names it has
};
// teacher: may be null where the student has a model of its own.
Beginning begin_student(const StudentSpec& spec, const std::shared_ptr<const Checkpoint>& model,
                        const std::shared_ptr<const Checkpoint>& teacher, uint64_t seed);

using TrainFunction = TrainReport (*)(const TrainInputs&, const Progress&);

struct DistillJob {
  const TrainingSpec& spec;
  std::string title;
  Beginning beginning;
  std::shared_ptr<const Checkpoint> teacher;  // null: none
  int64_t common_vocab = 0;                   // with it (above)
  const Dataset& data;
  std::string folder;  // of checkpoints; made here
  AdapterSpec adapters;
  TrainFunction train;
  TeachFunction teach = nullptr;  // where the teacher is to be cached
  std::function<void(const TrainReport&)> stepped = {};
};

struct Distilled {
  std::shared_ptr<const TrainedModel> model;
  TrainReport report;
};
Distilled distill(DistillJob job, const Progress& progress);

}  // namespace edgeq
