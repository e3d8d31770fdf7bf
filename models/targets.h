// SPDX-License-Identifier: Apache-2.0
// The makers behind the table of targets (models/target.cpp). Each takes the whole name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/target.h"

namespace edgeq {

// What files of other programs' do not say of a model: how edgeq keeps its keys and values.
std::vector<std::string> foreign_notes(const CodedModel& model);

// Codes, scales, zeros and offsets in their stored types, or the floats, without padding.
int64_t stored_bytes(const WeightForm& form);

// Parts of Target::beside_bytes: the f32 vectors, each padded to `alignment`; how many tensors there are; the
// settings and the recipe.
int64_t vector_bytes(const ModelConfig& config, int64_t alignment);
int64_t tensor_count(const ModelConfig& config);
inline constexpr int64_t kProvenanceBytes = 16384;

std::shared_ptr<const Target> make_packed_target(std::string_view name);
std::shared_ptr<const Target> make_gguf_target(std::string_view name);
std::shared_ptr<const Target> make_hf_target(std::string_view name);
std::shared_ptr<const Target> make_hdf5_target(std::string_view name);

}  // namespace edgeq
