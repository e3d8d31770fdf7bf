// SPDX-License-Identifier: Apache-2.0
// Hugging Face config.json -> ModelConfig. Defaults and the meaning of each key are those of transformers 5
// (configuration_<model_type>.py, modeling_rope_utils.py); a key that those classes ignore is ignored here.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <numbers>
#include <optional>

#include "core/error.h"
#include "models/config.h"
#include "models/family.h"
#include "models/json_fields.h"

namespace edgeq {
namespace {

// ---- what only some architectures have ----

void read_attention_bias(ModelConfig& config, const JsonFields& top) {
  config.qkv_bias = config.o_bias = top.boolean("attention_bias", config.o_bias);
}

void read_llama(ModelConfig& config, const JsonFields& top) {
  read_attention_bias(config, top);
  config.mlp_bias = top.boolean("mlp_bias", false);
}

void read_granite(ModelConfig& config, const JsonFields& top) {
  read_llama(config, top);
  config.embedding_scale = top.number("embedding_multiplier").value_or(1);
  config.residual_scale = top.number("residual_multiplier").value_or(1);
  config.attention_scale = top.number("attention_multiplier").value_or(1);
  config.logit_divisor = top.number("logits_scaling").value_or(1);
}

// `caps`: what a soft cap is where the file is silent; null means none.
void read_gemma(ModelConfig& config, const JsonFields& top, double attention_cap, double logit_cap) {
  read_attention_bias(config, top);
  if (top.boolean("use_bidirectional_attention", false))
    throw top.wrong("use_bidirectional_attention", "false (causal attention)");
  const double scalar = top.number("query_pre_attn_scalar").value_or(256);
  if (scalar != double(config.layers[0].head_dim)) config.attention_scale = 1 / std::sqrt(scalar);
  const auto cap = [&](const char* key, double otherwise) {
    return top.has(key) ? top.number(key).value_or(0) : otherwise;
  };
  config.attention_soft_cap = cap("attn_logit_softcapping", attention_cap);
  config.logit_soft_cap = cap("final_logit_softcapping", logit_cap);
}

void read_stablelm(ModelConfig& config, const JsonFields& top) {
  config.qkv_bias = top.boolean("use_qkv_bias", false);
  if (top.boolean("qk_layernorm", false)) throw top.wrong("qk_layernorm", "false (no norms of q and k)");
  if (top.boolean("use_parallel_residual", false)) config.residual = Residual::parallel_shared;
}

void read_gpt_neox(ModelConfig& config, const JsonFields& top) {
  read_attention_bias(config, top);
  if (top.boolean("use_parallel_residual", true)) config.residual = Residual::parallel;
}

void read_gpt2(ModelConfig& config, const JsonFields& top) {
  if (!top.boolean("scale_attn_weights", true)) config.attention_scale = 1;
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"})
    if (top.boolean(key, false)) throw top.wrong(key, "false");
}

// Which layers slide. Llama's never do, whatever the file says.
enum class Windows : uint8_t {
  never,
  all,      // sliding_window in every layer
  pattern,  // every n-th layer is full; layer_types, where given, says which
  qwen,     // under use_sliding_window the layers from max_window_layers on; or layer_types
};

struct Keys {
  const char* hidden = "hidden_size";
  const char* layers = "num_hidden_layers";
  const char* heads = "num_attention_heads";
  const char* kv_heads = "num_key_value_heads";  // nullptr: as many as heads, each of hidden / heads
  const char* ffn = "intermediate_size";
  const char* context = "max_position_embeddings";
  const char* epsilon = "rms_norm_eps";
  const char* nonlinearity = "hidden_act";
  const char* theta = "rope_theta";
  const char* rotary_part = nullptr;  // nullptr: whole heads are rotated
};
constexpr Keys kLayerNormKeys = {.epsilon = "layer_norm_eps", .rotary_part = "partial_rotary_factor"};
constexpr Keys kGptNeoxKeys = {.kv_heads = nullptr,
                               .epsilon = "layer_norm_eps",
                               .theta = "rotary_emb_base",
                               .rotary_part = "rotary_pct"};
constexpr Keys kGpt2Keys = {.hidden = "n_embd",
                            .layers = "n_layer",
                            .heads = "n_head",
                            .kv_heads = nullptr,
                            .ffn = "n_inner",
                            .context = "n_positions",
                            .epsilon = "layer_norm_epsilon",
                            .nonlinearity = "activation_function"};

// An architecture, and what it assumes where config.json is silent.
struct Architecture {
  std::string_view name, model_type, family;
  void (*read)(ModelConfig&, const JsonFields&) = [](ModelConfig&, const JsonFields&) {};
  Keys keys{};
  int64_t kv_heads = 0;      // 0: as many as heads
  int64_t head_dim = 0;      // 0: hidden / heads
  bool own_head_dim = true;  // config.json may give another one
  int64_t context = 2048;
  double epsilon = 1e-6, theta = 10000, rotary_part = 1;
  bool tied = false;
  Windows windows = Windows::never;
  int64_t window = 4096;  // 0: none
  int64_t pattern = 1;
};
constexpr std::array kArchitectures = {
    Architecture{.name = "LlamaForCausalLM", .model_type = "llama", .family = "llama", .read = read_llama},
    Architecture{.name = "MistralForCausalLM",
                 .model_type = "mistral",
                 .family = "llama",
                 .kv_heads = 8,
                 .context = 131072,
                 .windows = Windows::all},
    Architecture{.name = "Qwen2ForCausalLM",
                 .model_type = "qwen2",
                 .family = "qwen2",
                 .read = [](ModelConfig& config, const JsonFields&) { config.qkv_bias = true; },
                 .kv_heads = 32,
                 .context = 32768,
                 .windows = Windows::qwen},
    Architecture{.name = "Qwen3ForCausalLM",
                 .model_type = "qwen3",
                 .family = "qwen3",
                 .read = read_attention_bias,
                 .kv_heads = 32,
                 .head_dim = 128,
                 .context = 32768,
                 .windows = Windows::qwen},
    Architecture{.name = "Gemma2ForCausalLM",
                 .model_type = "gemma2",
                 .family = "gemma2",
                 .read = [](ModelConfig& config, const JsonFields& top) { read_gemma(config, top, 50, 30); },
                 .keys = {.nonlinearity = "hidden_activation"},
                 .kv_heads = 4,
                 .head_dim = 256,
                 .context = 8192,
                 .tied = true,
                 .windows = Windows::pattern,
                 .pattern = 2},
    Architecture{.name = "Gemma3ForCausalLM",
                 .model_type = "gemma3_text",
                 .family = "gemma3",
                 .read = [](ModelConfig& config, const JsonFields& top) { read_gemma(config, top, 0, 0); },
                 .keys = {.nonlinearity = "hidden_activation"},
                 .kv_heads = 4,
                 .head_dim = 256,
                 .context = 131072,
                 .theta = 1e6,
                 .tied = true,
                 .windows = Windows::pattern,
                 .pattern = 6},
    Architecture{.name = "Phi3ForCausalLM",
                 .model_type = "phi3",
                 .family = "phi3",
                 .keys = {.rotary_part = "partial_rotary_factor"},
                 .context = 4096,
                 .epsilon = 1e-5,
                 .windows = Windows::all,
                 .window = 0},
    Architecture{.name = "Olmo2ForCausalLM",
                 .model_type = "olmo2",
                 .family = "olmo2",
                 .read = read_attention_bias,
                 .epsilon = 1e-5},
    Architecture{
        .name = "GraniteForCausalLM", .model_type = "granite", .family = "granite", .read = read_granite},
    Architecture{.name = "StableLmForCausalLM",
                 .model_type = "stablelm",
                 .family = "stablelm",
                 .read = read_stablelm,
                 .keys = kLayerNormKeys,
                 .kv_heads = 32,
                 .own_head_dim = false,
                 .context = 4096,
                 .epsilon = 1e-5,
                 .rotary_part = 0.25},
    Architecture{.name = "GPTNeoXForCausalLM",
                 .model_type = "gpt_neox",
                 .family = "gptneox",
                 .read = read_gpt_neox,
                 .keys = kGptNeoxKeys,
                 .epsilon = 1e-5,
                 .rotary_part = 0.25},
    Architecture{.name = "GPT2LMHeadModel",
                 .model_type = "gpt2",
                 .family = "gpt2",
                 .read = read_gpt2,
                 .keys = kGpt2Keys,
                 .context = 1024,
                 .epsilon = 1e-5,
                 .tied = true},
};

const Architecture& find_architecture(const JsonFields& fields) {
  std::string found;
  if (const auto names = fields.texts("architectures")) {
    if (names->size() != 1) throw fields.wrong("architectures", "a list of one name");
    found = names->front();
    for (const Architecture& known : kArchitectures)
      if (known.name == found) return known;
  } else {
    found = fields.text("model_type").value_or("");
    for (const Architecture& known : kArchitectures)
      if (known.model_type == found) return known;
  }
  std::vector<std::string_view> names;
  for (const Architecture& known : kArchitectures) names.push_back(known.name);
  throw Error(
      fmt::format("architecture \"{}\" is not supported; expected one of {}", found, fmt::join(names, ", ")));
}

// Frequencies below the low-frequency wavelength are kept, above the high one divided by `factor`, blended
// between (Llama 3.1). The blend is linear in the frequency, so its inverse is the divisor.
std::vector<float> llama3_divisors(const JsonFields& rope, double theta, int64_t head_dim,
                                   double old_context) {
  const double factor = rope.required_number("factor"), low = rope.required_number("low_freq_factor"),
               high = rope.required_number("high_freq_factor");
  if (!(factor > 0) || !(high > low) || !(low > 0) || !(old_context > 0))
    throw Error(
        fmt::format("rope scaling llama3 has factor {}, low_freq_factor {}, high_freq_factor {}, "
                    "original context {}; expected positive numbers, low below high",
                    factor, low, high, old_context));
  std::vector<float> divisors;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(theta, 2.0 * double(i) / double(head_dim));
    double divisor = factor;
    if (wavelength < old_context / high) {
      divisor = 1;
    } else if (wavelength <= old_context / low) {
      const double smooth = (old_context / wavelength - low) / (high - low);
      divisor = 1 / ((1 - smooth) / factor + smooth);
    }
    divisors.push_back(float(divisor));
  }
  return divisors;
}

double longrope_scale(const ModelConfig& config, const JsonFields& rope) {
  if (const auto given = rope.number("attention_factor")) return *given;
  const auto original = double(config.original_context);
  const double factor = rope.number("factor").value_or(double(config.context) / original);
  return factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(original));
}

void read_rope_scaling(ModelConfig& config, const JsonFields& top, const JsonFields& rope) {
  const std::string type = rope.text("rope_type").value_or(rope.text("type").value_or("default"));
  const int64_t dims = rope_of(config, config.layers[0], 0).dims;
  const auto old_context = [&] {
    const auto beside = top.number("original_max_position_embeddings");
    return beside.value_or(rope.number("original_max_position_embeddings").value_or(double(config.context)));
  };
  if (type == "default") return;
  if (type == "linear") {
    config.rope_divisors.assign(size_t(dims / 2), float(rope.required_number("factor")));
  } else if (type == "llama3") {
    config.rope_divisors = llama3_divisors(rope, config.rope_theta, dims, old_context());
  } else if (type == "longrope" || (config.family == "phi3" && (type == "su" || type == "yarn"))) {
    const auto divisors = [&](const char* key) {
      const std::vector<double> numbers = rope.required_numbers(key);
      return std::vector<float>(numbers.begin(), numbers.end());
    };
    config.rope_divisors = divisors("short_factor");
    config.long_rope_divisors = divisors("long_factor");
    const double original = old_context();
    if (!(original >= 2 && original <= 0x1p31))
      throw Error(fmt::format("original_max_position_embeddings is {}; expected at least 2", original));
    config.original_context = int64_t(original);
    config.rope_scale = longrope_scale(config, rope);
  } else {
    throw Error(fmt::format(
        "rope scaling \"{}\" is not supported; expected default, linear, llama3 or longrope", type));
  }
}

void set_rotary_dims(ModelConfig& config, const Architecture& architecture, const JsonFields& from,
                     const char* key, double part) {
  if (architecture.keys.rotary_part == nullptr) {
    if (part != 1) throw from.wrong(key, "1 (rotation of the whole head)");
    return;
  }
  const int64_t head_dim = config.layers[0].head_dim;
  if (!(part > 0 && part <= 1)) throw from.wrong(key, "above 0, at most 1");
  const auto dims = int64_t(double(head_dim) * part);
  if (dims < 2) throw from.wrong(key, fmt::format("two dimensions of the {} of a head, or more", head_dim));
  config.rotary_dims = dims == head_dim ? 0 : dims;
}

// transformers 5 keeps theta, rotated part and scaling in rope_parameters; before, the first two were beside
// rope_scaling.
void read_rope_parameters(ModelConfig& config, const Architecture& architecture, const JsonFields& top,
                          const JsonFields& rope) {
  config.rope_theta = rope.number("rope_theta").value_or(config.rope_theta);
  if (const auto part = rope.number("partial_rotary_factor"))
    set_rotary_dims(config, architecture, rope, "partial_rotary_factor", *part);
  read_rope_scaling(config, top, rope);
}

// Gemma 3 has parameters for the full layers and others for those with a window; older files keep the theta
// of the latter in rope_local_base_freq.
void read_local_rope(ModelConfig& config, const JsonFields& top, const std::optional<JsonFields>& of_types) {
  config.local_rope_theta = top.number("rope_local_base_freq").value_or(10000);
  const auto local = of_types ? of_types->object("sliding_attention") : std::nullopt;
  if (!local) return;
  config.local_rope_theta = local->number("rope_theta").value_or(config.local_rope_theta);
  if (local->text("rope_type").value_or("default") != "default")
    throw local->wrong("rope_type", "\"default\"");
}

void read_rope(ModelConfig& config, const Architecture& architecture, const JsonFields& top) {
  if (config.learned_positions) return;
  const char* part_key = architecture.keys.rotary_part;
  if (part_key == nullptr) part_key = "partial_rotary_factor";
  set_rotary_dims(config, architecture, top, part_key,
                  top.number(part_key).value_or(architecture.rotary_part));
  config.rope_theta = top.number(architecture.keys.theta).value_or(architecture.theta);
  const char* key = top.has_value("rope_parameters") ? "rope_parameters" : "rope_scaling";
  std::optional<JsonFields> rope = top.object(key);
  if (config.family == "gemma3") {
    const bool of_types = rope && rope->has("full_attention");
    read_local_rope(config, top, of_types ? rope : std::nullopt);
    if (of_types) rope = rope->object("full_attention");
  }
  if (!rope) return;
  if (rope->holds_objects()) throw top.wrong(key, "one set of parameters for all layers");
  read_rope_parameters(config, architecture, top, *rope);
}

// Whether each layer slides, by the names in layer_types; empty when the file does not say.
std::vector<bool> read_layer_types(const JsonFields& top, size_t layers) {
  const auto types = top.texts("layer_types");
  if (!types) return {};
  if (types->size() != layers) throw top.wrong("layer_types", fmt::format("a list of {} names", layers));
  std::vector<bool> slides;
  for (const std::string& type : *types) {
    slides.push_back(type == "sliding_attention");
    if (!slides.back() && type != "full_attention")
      throw top.wrong("layer_types", "full_attention or sliding_attention for each layer");
  }
  return slides;
}

void read_windows(ModelConfig& config, const Architecture& architecture, const JsonFields& top) {
  if (architecture.windows == Windows::never) return;
  int64_t window = 0;
  if (!top.is_null("sliding_window")) window = top.integer("sliding_window").value_or(architecture.window);
  const bool qwen = architecture.windows == Windows::qwen;
  if (qwen && !top.boolean("use_sliding_window", false)) window = 0;
  const int64_t first = top.integer("max_window_layers").value_or(28);
  const int64_t pattern = top.integer("sliding_window_pattern").value_or(architecture.pattern);
  if (pattern < 1) throw top.wrong("sliding_window_pattern", "at least 1");
  std::vector<bool> types;
  if (architecture.windows != Windows::all) types = read_layer_types(top, config.layers.size());
  for (size_t i = 0; i < config.layers.size(); ++i) {
    bool slides = architecture.windows == Windows::all || (qwen && int64_t(i) >= first) ||
                  (architecture.windows == Windows::pattern && int64_t(i + 1) % pattern != 0);
    if (!types.empty()) slides = types[i];
    if (!types.empty() && slides && window == 0)
      throw Error(fmt::format("layer {} is of type sliding_attention, but there is no sliding_window", i));
    config.layers[i].window = slides ? window : 0;
  }
}

LayerShape read_layer_shape(const Architecture& architecture, const JsonFields& top, int64_t hidden) {
  const Keys& keys = architecture.keys;
  LayerShape layer;
  layer.heads = top.required_integer(keys.heads);
  if (layer.heads < 1) throw top.wrong(keys.heads, "at least 1");
  layer.kv_heads = layer.heads;
  layer.head_dim = hidden / layer.heads;
  if (keys.kv_heads != nullptr) {
    const bool default_kv = !top.has(keys.kv_heads) && architecture.kv_heads != 0;
    layer.kv_heads = default_kv ? architecture.kv_heads : top.integer(keys.kv_heads).value_or(layer.heads);
    const int64_t usual = architecture.head_dim != 0 ? architecture.head_dim : layer.head_dim;
    layer.head_dim = architecture.own_head_dim ? top.integer("head_dim").value_or(usual) : usual;
  }
  const bool gpt2 = architecture.family == "gpt2";
  layer.ffn =
      gpt2 && !top.has_value(keys.ffn) && hidden <= (1 << 20) ? 4 * hidden : top.required_integer(keys.ffn);
  return layer;
}

// Gated feed-forwards have the function of their family; those without a gate have either gelu.
void read_nonlinearity(ModelConfig& config, const JsonFields& top, const char* key) {
  const auto name = top.text(key);
  if (!name) return;
  std::optional<Nonlinearity> found;
  if (*name == "silu" || *name == "swish") found = Nonlinearity::silu;
  if (*name == "gelu") found = Nonlinearity::gelu_erf;
  if (*name == "gelu_new" || *name == "gelu_fast" || *name == "gelu_pytorch_tanh")
    found = Nonlinearity::gelu_tanh;
  const bool silu = config.nonlinearity == Nonlinearity::silu;
  if (!found || (config.gated_mlp ? *found != config.nonlinearity : *found == Nonlinearity::silu))
    throw top.wrong(key, silu               ? "\"silu\""
                         : config.gated_mlp ? "\"gelu_pytorch_tanh\""
                                            : "\"gelu\" or \"gelu_new\"");
  config.nonlinearity = *found;
}

}  // namespace

ModelConfig parse_hf_config(std::string_view json_text) {
  const JsonFields top(json_text);
  const Architecture& architecture = find_architecture(top);
  const Keys& keys = architecture.keys;
  ModelConfig config;
  config.family = architecture.family;
  config.name = top.text("_name_or_path").value_or("");
  config.hidden = top.required_integer(keys.hidden);
  config.vocab = top.required_integer("vocab_size");
  config.context = top.integer(keys.context).value_or(architecture.context);
  const int64_t layers = top.required_integer(keys.layers);
  if (layers < 1 || layers > 4096) throw top.wrong(keys.layers, "1 to 4096");
  config.layers.assign(size_t(layers), read_layer_shape(architecture, top, config.hidden));
  config.norm_epsilon = top.number(keys.epsilon).value_or(architecture.epsilon);
  config.tied_head = top.boolean("tie_word_embeddings", architecture.tied);
  family_of(config).set(config);
  validate(config);  // before sizes are computed with
  read_nonlinearity(config, top, keys.nonlinearity);
  architecture.read(config, top);
  read_windows(config, architecture, top);
  read_rope(config, architecture, top);
  validate(config);
  return config;
}

}  // namespace edgeq
