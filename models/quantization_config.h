// SPDX-License-Identifier: Apache-2.0
// What a quantized Hugging Face folder says of its codes: quantization_config of config.json, or the file of
// its own (quantize_config.json, quant_config.json) that older tools wrote. Which layers hold codes is seen
// from the tensors; the config says how they are to be read.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/compressed_tensors.h"
#include "formats/gptq.h"

namespace edgeq {

struct AwqSettings {
  int64_t group = 128;  // 0 = the whole row
};
using LayerSettings = std::variant<GptqSettings, AwqSettings, CompressedSettings>;

class QuantizationConfig {
 public:
  // The value of quantization_config as text. Throws Error: not JSON, a method that is not gptq, awq or
  // compressed-tensors, a layout or a width that is not read, or something beside the codes that changes
  // results (online rotations, sparsity).
  explicit QuantizationConfig(std::string_view json_text);

  // "gptq", "awq" or "compressed-tensors".
  const std::string& method() const { return method_; }
  // How a layer that holds codes is read ("model.layers.0.mlp.up_proj"). Throws Error when the config leaves
  // the layer out.
  LayerSettings settings(std::string_view module) const;
  // What it asks of a running model beside the weights, which reading leaves out; in sentences.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  std::string method_;
  std::vector<std::string> notes_;
  std::function<std::optional<LayerSettings>(std::string_view)> settings_;
};

// quantization_config of a config.json; nullopt when there is none.
std::optional<QuantizationConfig> quantization_config_of(std::string_view config_json);
// That of a folder: in config.json, or in the file of its own that older tools wrote.
std::optional<QuantizationConfig> find_quantization_config(const std::string& folder);

// The text of a file that is a few kilobytes. Throws Error: larger than 16 MiB.
std::string read_config_file(const std::string& path);

}  // namespace edgeq
