// SPDX-License-Identifier: Apache-2.0
// The JSON header of a safetensors file and the index of a sharded checkpoint, as values. Text in, values
// out: what the numbers mean for a file is checked by the readers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"

namespace edgeq {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;                  // dimensions are not negative; the product is unchecked
  uint64_t begin = 0, end = 0;  // from the start of the data
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;  // in the order of the text
  std::map<std::string, std::string> metadata;
};

// The reference implementation's limit.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

// Throws Error, without the file's name: not JSON, a name that comes twice, an unknown dtype, a field of
// another type, more than 8 dimensions, nesting deeper than the format's.
SafetensorsHeader parse_safetensors_header(std::string_view json_text);
std::string safetensors_header_text(const SafetensorsHeader& header);

struct SafetensorsIndex {
  std::vector<std::string> shards;         // file names without a folder, sorted
  std::map<std::string, size_t> shard_of;  // tensor -> index into `shards`
};
// model.safetensors.index.json: {"metadata": ..., "weight_map": {tensor: shard}}. Throws Error, without the
// file's name.
SafetensorsIndex parse_safetensors_index(std::string_view json_text);

}  // namespace edgeq
