// SPDX-License-Identifier: Apache-2.0
// A model as a Hugging Face folder: config.json, tokenizer.json, tokenizer_config.json,
// generation_config.json and model.safetensors (in shards when large). The codes of linear layers are written
// code for code in the layout of the tool that will load them; what the layout cannot hold is refused by
// name.
//
// No layout has codes for tables: the embedding, and in AWQ the head, are written as the floats that they
// mean, rounded to the type that is asked for. Layers without codes stay float and are left out in the
// config. Floats keep the type that they have; norms and biases are F16 where that is exact, else F32.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "formats/output_file.h"
#include "models/coded_model.h"
#include "models/config.h"
#include "models/tokenizer_data.h"

namespace edgeq {

enum class HfLayout : uint8_t {
  floats,           // every weight dequantized: any tool
  gptq,             // version 1: GPTQModel, vLLM, transformers
  gptq_v2,          // zero points may be 0
  awq,              // AutoAWQ's GEMM: vLLM, transformers, GPTQModel
  compressed,       // compressed-tensors, pack-quantized: W4A16, W8A16
  compressed_w8a8,  // compressed-tensors, int-quantized, activations rounded to 8 bits per token when it runs
};

struct HfOptions {
  HfLayout layout = HfLayout::floats;
  // Of dequantized weights: f16, bf16 or f32.
  DType dtype = DType::f16;
  // A file that would be larger is cut between tensors.
  int64_t shard_bytes = 5'000'000'000;
  OutputFile::Existing existing = OutputFile::Existing::refuse;
};

// What becomes of a weight: codes of the same grid, or floats.
WeightForm hf_form(const HfOptions& options, std::string_view site, const WeightForm& form);
// Why the layout cannot hold a weight that it would write as codes; nullopt when it can, or when it is
// written as floats. Zero points of 0 in GPTQ version 1 are found only when they are written: who chooses
// codes for it keeps them out (Placed::zeros_from_one).
std::optional<std::string> hf_obstacle(const HfOptions& options, std::string_view site,
                                       const WeightForm& form);

// Throws Error for a model whose weights such a folder cannot hold, whatever their forms.
void check_hf_config(const ModelConfig& config, HfLayout layout);

// Returns the bytes of the weights' files. Throws Error naming the site and its scheme, or the feature of the
// config or of the tokenizer, that has no place in such a folder.
int64_t export_hf(const CodedModel& model, const std::string& folder, const HfOptions& options);

// The parts of a folder. `quantization_json` is "" for floats. The text of a config reads back
// (parse_hf_config) as the same model; throws Error when no architecture describes it.
std::string hf_config_json(const ModelConfig& config, const TokenizerData& tokenizer, DType dtype,
                           const std::string& quantization_json);
// quantization_config for the layers of a model; throws Error when they differ in what the layout has once.
std::string hf_quantization_json(const CodedModel& model, const HfOptions& options);
// Throw Error for a step of the pipeline that the file has no place for.
std::string tokenizer_json(const TokenizerData& data);
std::string tokenizer_config_json(const TokenizerData& data, int64_t context);
std::string generation_config_json(const TokenizerData& data);

}  // namespace edgeq
