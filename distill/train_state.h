// SPDX-License-Identifier: Apache-2.0
// Where a training stands, and the file that holds it: a safetensors file of the trained numbers and of both
// averages of their gradients, its history in the metadata. It appears whole or not at all.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "eval/train_report.h"

namespace edgeq {

// A trained tensor and its averages; all three of one size.
struct Moving {
  std::string name;
  std::span<float> values, means, squares;
};

struct TrainState {
  TrainReport report;
  int64_t step = 0;  // that comes next
};

// In place of what was there. Throws Error (full disk).
void save_state(const std::string& path, const std::string& key, const TrainState& state,
                std::span<const Moving> tensors);
// Throws Error: another key, other tensors, damaged.
TrainState load_state(const std::string& path, const std::string& key, std::span<const Moving> tensors);

// Values alone: the best so far.
void save_values(const std::string& path, const std::string& key, std::span<const Moving> tensors);
void load_values(const std::string& path, const std::string& key, std::span<const Moving> tensors);

}  // namespace edgeq
