// SPDX-License-Identifier: Apache-2.0
// config.json of a model. ModelConfig says what is computed and not which architecture the checkpoint named,
// so the known architectures are tried in turn: the first whose config.json, read back, is the same model.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/error.h"
#include "models/export_hf.h"

namespace edgeq {
namespace {

using Json = nlohmann::ordered_json;

struct Architecture {
  std::string_view name, model_type;
};
constexpr std::array kArchitectures = {
    Architecture{"LlamaForCausalLM", "llama"},
    Architecture{"MistralForCausalLM", "mistral"},
    Architecture{"Qwen2ForCausalLM", "qwen2"},
    Architecture{"Qwen3ForCausalLM", "qwen3"},
};

// What makes these divisors; Llama 3's are known by a few numbers, which are searched.
std::vector<Json> rope_scalings(const ModelConfig& config) {
  const std::vector<float>& divisors = config.rope_divisors;
  if (divisors.empty()) return {nullptr};
  if (std::ranges::count(divisors, divisors[0]) == std::ssize(divisors))
    return {{{"rope_type", "linear"}, {"factor", divisors[0]}}};
  std::vector<Json> scalings;
  for (int64_t context = 2048; context <= 65536; context *= 2)
    scalings.push_back({{"rope_type", "llama3"},
                        {"factor", *std::ranges::max_element(divisors)},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", context}});
  return scalings;
}

Json common_json(const ModelConfig& config, const Architecture& architecture) {
  const LayerShape& layer = config.layers[0];
  Json json = {{"architectures", Json::array({architecture.name})},
               {"model_type", architecture.model_type},
               {"hidden_size", config.hidden},
               {"intermediate_size", layer.ffn},
               {"num_hidden_layers", config.layers.size()},
               {"num_attention_heads", layer.heads},
               {"num_key_value_heads", layer.kv_heads},
               {"head_dim", layer.head_dim},
               {"hidden_act", "silu"},
               {"max_position_embeddings", config.context},
               {"rms_norm_eps", config.norm_epsilon},
               {"rope_theta", config.rope_theta},
               {"tie_word_embeddings", config.tied_head},
               {"vocab_size", config.vocab}};
  if (!config.name.empty()) json["_name_or_path"] = config.name;
  if (architecture.model_type == "llama" || architecture.model_type == "qwen3")
    json["attention_bias"] = config.qkv_bias;
  if (architecture.model_type == "llama") json["mlp_bias"] = config.mlp_bias;
  return json;
}

void set_windows(Json& json, const ModelConfig& config, std::string_view model_type) {
  int64_t window = 0;
  Json types = Json::array();
  for (const LayerShape& layer : config.layers) {
    window = std::max(window, layer.window);
    types.push_back(layer.window != 0 ? "sliding_attention" : "full_attention");
  }
  if (model_type == "llama") return;
  if (window == 0) {
    json["sliding_window"] = nullptr;
  } else {
    json["sliding_window"] = window;
  }
  if (model_type == "mistral") return;
  json["use_sliding_window"] = window != 0;
  json["layer_types"] = std::move(types);
}

// Divisors that went through another file are rounded a little differently there.
bool same_model(const ModelConfig& a, ModelConfig b) {
  constexpr float kRounding = 1e-5f;
  bool close = a.rope_divisors.size() == b.rope_divisors.size();
  for (size_t i = 0; close && i < a.rope_divisors.size(); ++i)
    close = std::abs(a.rope_divisors[i] - b.rope_divisors[i]) <= kRounding * a.rope_divisors[i];
  b.rope_divisors = a.rope_divisors;
  b.family = a.family;  // only a name: what is computed is compared
  return close && a == b;
}

std::optional<Json> describe(const ModelConfig& config, const Architecture& architecture) {
  for (Json& scaling : rope_scalings(config)) {
    Json json = common_json(config, architecture);
    set_windows(json, config, architecture.model_type);
    if (!scaling.is_null()) json["rope_scaling"] = std::move(scaling);
    try {
      if (same_model(config, parse_hf_config(json.dump()))) return json;
    } catch (const Error&) {  // a value that this architecture does not have
    }
  }
  return std::nullopt;
}

}  // namespace

std::string hf_config_json(const ModelConfig& config, const TokenizerData& tokenizer, DType dtype,
                           const std::string& quantization_json) {
  std::optional<Json> json;
  for (const Architecture& architecture : kArchitectures)
    if (!json) json = describe(config, architecture);
  if (!json)
    throw Error(
        fmt::format("no Hugging Face architecture that edgeq writes describes this {} model", config.family));
  (*json)["torch_dtype"] = dtype == DType::f16 ? "float16" : dtype == DType::bf16 ? "bfloat16" : "float32";
  if (tokenizer.bos) (*json)["bos_token_id"] = *tokenizer.bos;
  if (tokenizer.eos) (*json)["eos_token_id"] = *tokenizer.eos;
  if (tokenizer.padding) (*json)["pad_token_id"] = *tokenizer.padding;
  if (!quantization_json.empty()) (*json)["quantization_config"] = Json::parse(quantization_json);
  return json->dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace edgeq
