// SPDX-License-Identifier: Apache-2.0
// A model of a few thousand weights and its two checkpoint forms, for tests of reading and writing models.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "core/quantized_tensor.h"
#include "core/random.h"
#include "core/tensor.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "models/config.h"
#include "models/names.h"
#include "models/sites.h"
#include "tests/support/random_quantized.h"
#include "tests/support/temp_dir.h"

namespace edgeq {

struct ToyModel {
  ModelConfig config;
  std::map<std::string, Tensor> tensors;  // by edgeq's names, f32
};

inline ModelConfig toy_config(const std::string& family = "llama") {
  ModelConfig config;
  config.family = family;
  config.name = "toy";
  config.hidden = 32;
  config.vocab = 40;
  config.context = 64;
  config.layers.assign(2, {.heads = 4, .kv_heads = 2, .head_dim = 8, .ffn = 64});
  config.norm_epsilon = 1e-5;
  config.tied_head = true;
  config.qkv_bias = family == "qwen2";
  config.qk_norm = family == "qwen3";
  return config;
}

// Weights that bf16 and f16 hold exactly: multiples of 1/64 below 2.
inline ToyModel make_toy(const ModelConfig& config, uint64_t seed = 1) {
  ToyModel toy{config, {}};
  Random random(seed);
  const auto fill = [&](const std::string& name, Shape shape) {
    Tensor tensor(DType::f32, std::move(shape));
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.f32()[i] = float(int(random.below(255)) - 127) / 64.0f;
    toy.tensors.emplace(name, std::move(tensor));
  };
  for (const SiteShape& site : all_sites(config)) fill(site.name, {site.rows, site.cols});
  for (const VectorShape& vector : all_vectors(config)) fill(vector.name, {vector.size});
  return toy;
}

inline QuantizedTensor random_codes(const QuantScheme& scheme, int64_t rows, int64_t cols, uint64_t seed) {
  Random random(seed);
  return random_quantized(scheme, rows, cols, random);
}

inline std::string toy_hf_config(const ModelConfig& config) {
  const std::map<std::string, std::string> architectures = {
      {"llama", "LlamaForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"}, {"qwen3", "Qwen3ForCausalLM"}};
  const LayerShape& layer = config.layers[0];
  const auto text = [](int64_t value) { return std::to_string(value); };
  return "{\"architectures\": [\"" + architectures.at(config.family) + "\"], \"_name_or_path\": \"" +
         config.name + "\", \"hidden_size\": " + text(config.hidden) +
         ", \"vocab_size\": " + text(config.vocab) +
         ", \"max_position_embeddings\": " + text(config.context) +
         ", \"num_hidden_layers\": " + text(int64_t(config.layers.size())) +
         ", \"num_attention_heads\": " + text(layer.heads) +
         ", \"num_key_value_heads\": " + text(layer.kv_heads) + ", \"head_dim\": " + text(layer.head_dim) +
         ", \"intermediate_size\": " + text(layer.ffn) +
         ", \"rms_norm_eps\": 1e-05, \"attention_bias\": " + (config.o_bias ? "true" : "false") +
         ", \"mlp_bias\": " + (config.mlp_bias ? "true" : "false") +
         ", \"tie_word_embeddings\": " + (config.tied_head ? "true" : "false") + "}";
}

// Changes the tensors that are about to be written, by their names in the file.
using StoredTensors = std::map<std::string, Tensor>;
using Spoil = std::function<void(StoredTensors&)>;

inline void write_safetensors(const std::string& path, const StoredTensors& tensors) {
  SafetensorsWriter writer(path);
  for (const auto& [name, tensor] : tensors)
    writer.add(name, tensor.dtype(), tensor.shape(), {tensor.data(), size_t(tensor.bytes())});
  writer.finish({{"format", "pt"}});
}

inline StoredTensors hf_tensors(const ToyModel& toy, DType dtype) {
  StoredTensors stored;
  for (const auto& [name, tensor] : toy.tensors)
    stored.emplace(checkpoint_name(name, Naming::hf, toy.config.family), from_f32(tensor, dtype));
  return stored;
}

// config.json and model.safetensors in `folder`.
inline std::string write_hf(const TempDir& folder, const ToyModel& toy, DType dtype = DType::bf16,
                            const Spoil& spoil = {}) {
  folder.write("config.json", toy_hf_config(toy.config));
  StoredTensors stored = hf_tensors(toy, dtype);
  if (spoil) spoil(stored);
  write_safetensors(folder.file("model.safetensors"), stored);
  return folder.path().string();
}

// Row order of GGUF files of architecture llama, as convert_hf_to_gguf makes it:
// reshape(heads, 2, head_dim / 2, ...), swap axes 1 and 2.
inline Tensor interleave_rows(const Tensor& ours, int64_t head_dim) {
  Tensor stored(DType::f32, ours.shape());
  const int64_t cols = ours.shape().size() == 1 ? 1 : ours.shape()[1];
  for (int64_t h = 0; h < ours.shape()[0] / head_dim; ++h)
    for (int64_t s = 0; s < 2; ++s)
      for (int64_t i = 0; i < head_dim / 2; ++i)
        for (int64_t c = 0; c < cols; ++c)
          stored.f32()[(h * head_dim + 2 * i + s) * cols + c] =
              ours.f32()[(h * head_dim + s * head_dim / 2 + i) * cols + c];
  return stored;
}

inline StoredTensors gguf_tensors(const ToyModel& toy) {
  StoredTensors stored;
  for (const auto& [name, tensor] : toy.tensors) {
    const bool rotary = name.find("attn.q_proj") != name.npos || name.find("attn.k_proj") != name.npos;
    stored.emplace(checkpoint_name(name, Naming::gguf, toy.config.family),
                   toy.config.family == "llama" && rotary
                       ? interleave_rows(tensor, toy.config.layers[0].head_dim)
                       : tensor);
  }
  return stored;
}

using Metadata = std::map<std::string, GgufWriter::Value>;

inline Metadata gguf_metadata(const ModelConfig& config) {
  const std::string prefix = config.family + ".";
  const LayerShape& layer = config.layers[0];
  return {{"general.architecture", config.family},
          {"general.name", config.name},
          {prefix + "context_length", uint32_t(config.context)},
          {prefix + "embedding_length", uint32_t(config.hidden)},
          {prefix + "block_count", uint32_t(config.layers.size())},
          {prefix + "feed_forward_length", uint32_t(layer.ffn)},
          {prefix + "attention.head_count", uint32_t(layer.heads)},
          {prefix + "attention.head_count_kv", uint32_t(layer.kv_heads)},
          {prefix + "attention.key_length", uint32_t(layer.head_dim)},
          {prefix + "attention.value_length", uint32_t(layer.head_dim)},
          {prefix + "rope.dimension_count", uint32_t(layer.head_dim)},
          {prefix + "rope.freq_base", float(config.rope_theta)},
          {prefix + "attention.layer_norm_rms_epsilon", float(config.norm_epsilon)}};
}

inline std::string write_gguf(const std::string& path, const Metadata& metadata,
                              const StoredTensors& tensors) {
  GgufWriter writer(path);
  for (const auto& [key, value] : metadata) writer.set(key, value);
  for (const auto& [name, tensor] : tensors)
    writer.declare(name, encoding_of(tensor.dtype()), tensor.shape());
  for (const auto& [name, tensor] : tensors) writer.write({tensor.data(), size_t(tensor.bytes())});
  writer.finish();
  return path;
}

}  // namespace edgeq
