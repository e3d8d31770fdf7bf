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

const char* nonlinearity_name(Nonlinearity nonlinearity) {
  switch (nonlinearity) {
    case Nonlinearity::silu: return "silu";
    case Nonlinearity::gelu_tanh: return "gelu_pytorch_tanh";
    case Nonlinearity::gelu_erf: return "gelu";
  }
  return "";
}

double rotary_part(const ModelConfig& config) {
  return config.rotary_dims == 0 ? 1 : double(config.rotary_dims) / double(config.layers[0].head_dim);
}

Json null_or(double value) { return value == 0 ? Json(nullptr) : Json(value); }

// ---- what an architecture has beside the common keys ----

void write_llama(Json& json, const ModelConfig& config) {
  json["attention_bias"] = config.o_bias;
  json["mlp_bias"] = config.mlp_bias;
}

void write_attention_bias(Json& json, const ModelConfig& config) { json["attention_bias"] = config.o_bias; }

void write_windows(Json& json, const ModelConfig& config) {
  int64_t window = 0;
  Json types = Json::array();
  for (const LayerShape& layer : config.layers) {
    window = std::max(window, layer.window);
    types.push_back(layer.window != 0 ? "sliding_attention" : "full_attention");
  }
  json["sliding_window"] = window == 0 ? Json(nullptr) : Json(window);
  json["layer_types"] = std::move(types);
}

void write_mistral(Json& json, const ModelConfig& config) {
  write_windows(json, config);
  json.erase("layer_types");
}

void write_qwen2(Json& json, const ModelConfig& config) {
  write_windows(json, config);
  json["use_sliding_window"] = !json["sliding_window"].is_null();
}

void write_qwen3(Json& json, const ModelConfig& config) {
  write_qwen2(json, config);
  write_attention_bias(json, config);
}

void write_gemma(Json& json, const ModelConfig& config) {
  write_windows(json, config);
  write_attention_bias(json, config);
  json["hidden_activation"] = nonlinearity_name(config.nonlinearity);
  const double scale = config.attention_scale;
  json["query_pre_attn_scalar"] =  // transformers wants an integer
      scale == 0 ? config.layers[0].head_dim : int64_t(std::llround(1 / (scale * scale)));
  json["attn_logit_softcapping"] = null_or(config.attention_soft_cap);
  json["final_logit_softcapping"] = null_or(config.logit_soft_cap);
  if (config.local_rope_theta != 0) json["rope_local_base_freq"] = config.local_rope_theta;
}

void write_phi3(Json& json, const ModelConfig& config) {
  write_mistral(json, config);
  json["partial_rotary_factor"] = rotary_part(config);
  if (config.original_context != 0) json["original_max_position_embeddings"] = config.original_context;
}

void write_granite(Json& json, const ModelConfig& config) {
  write_llama(json, config);
  json["embedding_multiplier"] = config.embedding_scale;
  json["residual_multiplier"] = config.residual_scale;
  json["attention_multiplier"] = attention_scale_of(config, config.layers[0]);
  json["logits_scaling"] = config.logit_divisor;
}

void write_stablelm(Json& json, const ModelConfig& config) {
  json["layer_norm_eps"] = config.norm_epsilon;
  json["partial_rotary_factor"] = rotary_part(config);
  json["use_qkv_bias"] = config.qkv_bias;
  json["use_parallel_residual"] = config.residual == Residual::parallel_shared;
}

void write_gpt_neox(Json& json, const ModelConfig& config) {
  write_attention_bias(json, config);
  json["layer_norm_eps"] = config.norm_epsilon;
  json["rotary_pct"] = rotary_part(config);
  json["rotary_emb_base"] = config.rope_theta;
  json["use_parallel_residual"] = config.residual == Residual::parallel;
  for (const char* key : {"num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta"}) json.erase(key);
}

void write_gpt2(Json& json, const ModelConfig& config) {
  const LayerShape& layer = config.layers[0];
  Json own = {{"architectures", json["architectures"]},
              {"model_type", json["model_type"]},
              {"n_embd", config.hidden},
              {"n_inner", layer.ffn},
              {"n_layer", config.layers.size()},
              {"n_head", layer.heads},
              {"n_positions", config.context},
              {"activation_function", nonlinearity_name(config.nonlinearity)},
              {"layer_norm_epsilon", config.norm_epsilon},
              {"scale_attn_weights", config.attention_scale != 1},
              {"tie_word_embeddings", config.tied_head},
              {"vocab_size", config.vocab}};
  json = std::move(own);
}

struct Architecture {
  std::string_view name, model_type, family;
  void (*write)(Json&, const ModelConfig&);
};
constexpr std::array kArchitectures = {
    Architecture{"LlamaForCausalLM", "llama", "llama", write_llama},
    Architecture{"MistralForCausalLM", "mistral", "llama", write_mistral},
    Architecture{"Qwen2ForCausalLM", "qwen2", "qwen2", write_qwen2},
    Architecture{"Qwen3ForCausalLM", "qwen3", "qwen3", write_qwen3},
    Architecture{"Gemma2ForCausalLM", "gemma2", "gemma2", write_gemma},
    Architecture{"Gemma3ForCausalLM", "gemma3_text", "gemma3", write_gemma},
    Architecture{"Phi3ForCausalLM", "phi3", "phi3", write_phi3},
    Architecture{"Olmo2ForCausalLM", "olmo2", "olmo2", write_attention_bias},
    Architecture{"GraniteForCausalLM", "granite", "granite", write_granite},
    Architecture{"StableLmForCausalLM", "stablelm", "stablelm", write_stablelm},
    Architecture{"GPTNeoXForCausalLM", "gpt_neox", "gptneox", write_gpt_neox},
    Architecture{"GPT2LMHeadModel", "gpt2", "gpt2", write_gpt2},
};

// What makes these divisors, most likely first; Llama 3's are known by a few numbers, which are searched.
std::vector<Json> rope_scalings(const ModelConfig& config) {
  const std::vector<float>& divisors = config.rope_divisors;
  if (!config.long_rope_divisors.empty()) {
    const Json scaling = {
        {"type", "longrope"}, {"short_factor", divisors}, {"long_factor", config.long_rope_divisors}};
    Json scaled = scaling;
    scaled["attention_factor"] = config.rope_scale;
    return {scaling, scaled};
  }
  if (divisors.empty()) return {nullptr};
  if (std::ranges::count(divisors, divisors[0]) == std::ssize(divisors))
    return {{{"rope_type", "linear"}, {"factor", divisors[0]}}};
  // Where no frequency is low enough to be divided by the whole factor, it is not among the divisors.
  std::vector<Json> scalings;
  for (const float factor : {*std::ranges::max_element(divisors), 8.0f, 32.0f, 16.0f, 4.0f, 2.0f})
    for (int64_t context = 64; context <= 65536; context *= 2)
      scalings.push_back({{"rope_type", "llama3"},
                          {"factor", factor},
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
               {"hidden_act", nonlinearity_name(config.nonlinearity)},
               {"max_position_embeddings", config.context},
               {"rms_norm_eps", config.norm_epsilon},
               {"rope_theta", config.rope_theta},
               {"tie_word_embeddings", config.tied_head},
               {"vocab_size", config.vocab}};
  architecture.write(json, config);
  if (!config.name.empty()) json["_name_or_path"] = config.name;
  return json;
}

// Divisors that went through another file are rounded a little differently there.
bool same_model(const ModelConfig& a, ModelConfig b) {
  constexpr float kRounding = 1e-5f;
  bool close = a.rope_divisors.size() == b.rope_divisors.size();
  for (size_t i = 0; close && i < a.rope_divisors.size(); ++i)
    close = std::abs(a.rope_divisors[i] - b.rope_divisors[i]) <= kRounding * a.rope_divisors[i];
  b.rope_divisors = a.rope_divisors;
  return close && a == b;
}

std::optional<Json> describe(const ModelConfig& config, const Architecture& architecture) {
  for (Json& scaling : rope_scalings(config)) {
    Json json = common_json(config, architecture);
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
    if (!json && architecture.family == config.family) json = describe(config, architecture);
  if (!json)
    throw Error(
        fmt::format("no Hugging Face architecture that edgeq writes describes this {} model", config.family));
  (*json)["torch_dtype"] = dtype == DType::f16 ? "float16" : dtype == DType::bf16 ? "bfloat16" : "float32";
  // null where there is none: an architecture's own default may lie outside of the vocabulary.
  const auto set_token = [&](const char* key, std::optional<TokenId> id) {
    (*json)[key] = id ? Json(*id) : Json(nullptr);
  };
  set_token("bos_token_id", tokenizer.bos);
  set_token("eos_token_id", tokenizer.eos);
  set_token("pad_token_id", tokenizer.padding);
  if (!quantization_json.empty()) (*json)["quantization_config"] = Json::parse(quantization_json);
  return json->dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace edgeq
