// SPDX-License-Identifier: Apache-2.0
// `data:`, `losses:` and `train:` of the recipe of a distillation and of the stage `heal:`.
#pragma once

#include "recipe/training_spec.h"
#include "recipe/yaml_reader.h"

namespace edgeq {

// The three fields; they read into `spec`, and both have to outlive them.
YamlReader::Fields training_fields(const YamlReader& reader, TrainingSpec& spec);

// What is to be known once all was read; without losses, takes the one that is usual. Throws Error at `node`.
void check_training(const YamlReader& reader, const YAML::Node& node, TrainingSpec& spec, bool has_teacher);

}  // namespace edgeq
