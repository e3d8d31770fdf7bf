// SPDX-License-Identifier: Apache-2.0
#include "models/family.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"

namespace edgeq {
namespace {

constexpr std::array kCommonEnds = {
    NameRow{"embedding", "embed_tokens", "token_embd"},
    NameRow{"positions", "wpe", "position_embd"},
    NameRow{"final_norm", "norm", "output_norm"},
    NameRow{"head", "lm_head", "output"},
};
constexpr std::array kCommonParts = {
    NameRow{"attn_norm", "input_layernorm", "attn_norm"},
    NameRow{"attn.q_proj", "self_attn.q_proj", "attn_q"},
    NameRow{"attn.k_proj", "self_attn.k_proj", "attn_k"},
    NameRow{"attn.v_proj", "self_attn.v_proj", "attn_v"},
    NameRow{"attn.o_proj", "self_attn.o_proj", "attn_output"},
    NameRow{"attn.q_norm", "self_attn.q_norm", "attn_q_norm"},
    NameRow{"attn.k_norm", "self_attn.k_norm", "attn_k_norm"},
    NameRow{"attn_post_norm", "post_attention_layernorm", "post_attention_norm"},
    NameRow{"mlp_norm", "post_attention_layernorm", "ffn_norm"},
    NameRow{"mlp.gate_proj", "mlp.gate_proj", "ffn_gate"},
    NameRow{"mlp.up_proj", "mlp.up_proj", "ffn_up"},
    NameRow{"mlp.down_proj", "mlp.down_proj", "ffn_down"},
    NameRow{"mlp_post_norm", "post_feedforward_layernorm", "post_ffw_norm"},
};

constexpr std::array kGemma = {NameRow{"mlp_norm", "pre_feedforward_layernorm", "ffn_norm"}};

constexpr std::array kPhi3 = {
    NameRow{"attn.q_proj", "self_attn.qkv_proj", "attn_qkv", Fusion::stacked, Fusion::stacked},
    NameRow{"attn.k_proj", "self_attn.qkv_proj", "attn_qkv", Fusion::stacked, Fusion::stacked},
    NameRow{"attn.v_proj", "self_attn.qkv_proj", "attn_qkv", Fusion::stacked, Fusion::stacked},
    NameRow{"mlp.gate_proj", "mlp.gate_up_proj", "ffn_up", Fusion::stacked, Fusion::stacked},
    NameRow{"mlp.up_proj", "mlp.gate_up_proj", "ffn_up", Fusion::stacked, Fusion::stacked},
};

constexpr std::array kGptNeox = {
    NameRow{"embedding", "embed_in", "token_embd"},
    NameRow{"final_norm", "final_layer_norm", "output_norm"},
    NameRow{"head", "embed_out", "output"},
    NameRow{"attn.q_proj", "attention.query_key_value", "attn_qkv", Fusion::per_head, Fusion::stacked},
    NameRow{"attn.k_proj", "attention.query_key_value", "attn_qkv", Fusion::per_head, Fusion::stacked},
    NameRow{"attn.v_proj", "attention.query_key_value", "attn_qkv", Fusion::per_head, Fusion::stacked},
    NameRow{"attn.o_proj", "attention.dense", "attn_output"},
    NameRow{"mlp.up_proj", "mlp.dense_h_to_4h", "ffn_up"},
    NameRow{"mlp.down_proj", "mlp.dense_4h_to_h", "ffn_down"},
};

constexpr std::array kGpt2 = {
    NameRow{"embedding", "wte", "token_embd"},
    NameRow{"final_norm", "ln_f", "output_norm"},
    NameRow{"attn_norm", "ln_1", "attn_norm"},
    NameRow{"attn.q_proj", "attn.c_attn", "attn_qkv", Fusion::stacked, Fusion::stacked},
    NameRow{"attn.k_proj", "attn.c_attn", "attn_qkv", Fusion::stacked, Fusion::stacked},
    NameRow{"attn.v_proj", "attn.c_attn", "attn_qkv", Fusion::stacked, Fusion::stacked},
    NameRow{"attn.o_proj", "attn.c_proj", "attn_output"},
    NameRow{"mlp_norm", "ln_2", "ffn_norm"},
    NameRow{"mlp.up_proj", "mlp.c_fc", "ffn_up"},
    NameRow{"mlp.down_proj", "mlp.c_proj", "ffn_down"},
};

void set_gemma(ModelConfig& config) {
  config.post_norm = true;
  config.nonlinearity = Nonlinearity::gelu_tanh;
  config.embedding_scale = std::sqrt(double(config.hidden));
}

void set_gpt(ModelConfig& config) {
  config.norm = NormKind::layer;
  config.gated_mlp = false;
  config.qkv_bias = config.o_bias = config.mlp_bias = true;
}

constexpr std::array kFamilies = {
    Family{.name = "llama", .gguf_interleaved = true},
    Family{.name = "qwen2"},
    Family{.name = "qwen3", .set = [](ModelConfig& c) { c.qk_norm = true; }},
    Family{.name = "gemma2", .set = set_gemma, .names = kGemma, .hf_gain_offset = 1},
    Family{.name = "gemma3",
           .set =
               [](ModelConfig& c) {
                 set_gemma(c);
                 c.qk_norm = true;
               },
           .names = kGemma,
           .hf_gain_offset = 1},
    Family{.name = "phi3", .names = kPhi3},
    Family{.name = "olmo2",
           .set =
               [](ModelConfig& c) {
                 c.pre_norm = false;
                 c.post_norm = c.qk_norm = c.joint_qk_norm = true;
               }},
    Family{.name = "granite", .gguf_interleaved = true},
    Family{.name = "stablelm", .set = [](ModelConfig& c) { c.norm = NormKind::layer; }},
    Family{.name = "gptneox",
           .set =
               [](ModelConfig& c) {
                 set_gpt(c);
                 c.nonlinearity = Nonlinearity::gelu_erf;
               },
           .names = kGptNeox,
           .hf_root = "gpt_neox."},
    Family{.name = "gpt2",
           .set =
               [](ModelConfig& c) {
                 set_gpt(c);
                 c.nonlinearity = Nonlinearity::gelu_tanh;
                 c.learned_positions = true;
               },
           .names = kGpt2,
           .hf_root = "transformer.",
           .hf_layers = "h.",
           .hf_transposed = true},
};

}  // namespace

const Family* find_family(std::string_view name) {
  const auto found = std::ranges::find(kFamilies, name, &Family::name);
  return found == kFamilies.end() ? nullptr : &*found;
}

const Family& family_of(const ModelConfig& config) {
  const Family* family = find_family(config.family);
  EDGEQ_CHECK(family != nullptr, "a config is of a known family");
  return *family;
}

std::vector<std::string_view> family_names() {
  std::vector<std::string_view> names;
  for (const Family& family : kFamilies) names.push_back(family.name);
  return names;
}

// Gemma's largest models, known by their number of layers, scale by hidden / heads.
double gguf_attention_scale(const ModelConfig& config) {
  const size_t largest = config.family == "gemma2" ? 46 : config.family == "gemma3" ? 62 : 0;
  if (config.layers.size() != largest) return 0;
  return 1 / std::sqrt(double(config.hidden) / double(config.layers[0].heads));
}

std::span<const NameRow> common_ends() { return kCommonEnds; }
std::span<const NameRow> common_parts() { return kCommonParts; }

}  // namespace edgeq
