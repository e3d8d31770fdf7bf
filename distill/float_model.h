// SPDX-License-Identifier: Apache-2.0
// A whole model as floats in memory: what is trained, and the teacher that it is held against.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "models/block.h"
#include "models/config.h"
#include "models/import.h"

namespace edgeq {

struct FloatModel {
  ModelConfig config;
  Ends ends;
  std::vector<Block> blocks;
};

FloatModel load_float_model(const Checkpoint& checkpoint);

// Its tensors in one fixed order: embedding, ends' others, the blocks' sites (weight, then bias) and others,
// head unless tied.
struct Parameter {
  std::string name;
  Tensor* values;
};
std::vector<Parameter> parameters_of(FloatModel& model);
bool is_matrix(const Parameter& parameter);

// A model of these shapes, its weights normal with a deviation of 0.02, those that write into the residual
// stream of 0.02 / sqrt(2 layers) (GPT-2), norms 1, biases 0.
FloatModel random_model(const ModelConfig& config, uint64_t seed);

// The teacher's tables and norms, and `layers` of its blocks: the first, the last and the ones evenly between
// them. Throws Error unless 1 <= layers <= the teacher's.
FloatModel thinned_model(const Checkpoint& teacher, int64_t layers);

}  // namespace edgeq
