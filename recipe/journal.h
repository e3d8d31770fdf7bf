// SPDX-License-Identifier: Apache-2.0
// Finished parts of a model on disk: what makes a long run resumable. A part is "embedding", "layers.<n>" or
// "head"; each is one safetensors file that appears whole or not at all. The key says which model, text,
// recipe and version the parts belong to; parts of another key are refused, so a resumed run ends in the same
// bytes as an uninterrupted one.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/quantized_tensor.h"
#include "core/tensor.h"
#include "eval/report.h"
#include "models/block.h"
#include "models/config.h"

namespace edgeq {

// One compressed site: codes, or a float matrix in the type it is kept in.
struct SiteResult {
  std::string name;
  std::optional<QuantizedTensor> quantized;
  Tensor kept;            // f32, f16 or bf16, when not quantized
  Tensor bias;            // f32 [rows] or empty
  float input_scale = 0;  // of Activations::int8_static, else 0
  SiteReport report;
};

struct PartResult {
  std::string part;
  std::vector<SiteResult> sites;
  std::vector<NamedTensor> vectors;  // norms, f32

  const SiteResult& site(std::string_view name) const;  // Error when it is not in the part
  const Tensor& vector(std::string_view name) const;    // the same
  const Tensor* find_vector(std::string_view name) const;
};

// Numbers as a vector of a part, in f32, and back.
template <class T>
NamedTensor named_numbers(std::string name, const std::vector<T>& numbers) {
  Tensor tensor(DType::f32, {int64_t(numbers.size())});
  std::transform(numbers.begin(), numbers.end(), tensor.f32(), [](T number) { return float(number); });
  return {std::move(name), std::move(tensor)};
}
template <class T>
std::vector<T> numbers_of(const Tensor& vector) {
  std::vector<T> numbers(size_t(vector.size()));
  std::transform(vector.f32(), vector.f32() + vector.size(), numbers.begin(), [](float v) { return T(v); });
  return numbers;
}

// "layers.<n>", and the part that holds a site.
std::string layer_part(int64_t layer);
std::string part_of_site(std::string_view site);
// The parts of a model in order: "embedding", "layers.0", ..., and "head" unless tied.
std::vector<std::string> part_names(const ModelConfig& config);

class Journal {
 public:
  // Opens or creates the folder. A folder with another key: Error, saying how to start over.
  Journal(std::string folder, const std::string& key);

  const std::string& folder() const { return folder_; }
  bool has(const std::string& part) const;
  PartResult load(const std::string& part) const;  // Error when missing or damaged
  void commit(const PartResult& result);           // in place of what the part was, if anything
  // Removes the folder: the result is written elsewhere.
  void remove();

 private:
  std::string path_of(const std::string& part) const;
  std::string folder_;
};

}  // namespace edgeq
