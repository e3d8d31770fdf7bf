// SPDX-License-Identifier: Apache-2.0
// Hugging Face config.json -> ModelConfig. Defaults and the meaning of each key are those of transformers 5
// (configuration_{llama,mistral,qwen2,qwen3}.py, modeling_rope_utils.py); a key that those classes ignore is
// ignored here.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>

#include "core/error.h"
#include "models/config.h"

namespace edgeq {
namespace {

using nlohmann::json;

// What an architecture assumes where config.json is silent. 0 = as many KV heads as heads, or hidden / heads.
struct Architecture {
  std::string_view name, model_type, family;
  int64_t kv_heads, head_dim, context;
  bool always_qkv_bias, reads_attention_bias, reads_mlp_bias, qk_norm;
};
constexpr std::array kArchitectures = {
    Architecture{.name = "LlamaForCausalLM",
                 .model_type = "llama",
                 .family = "llama",
                 .kv_heads = 0,
                 .head_dim = 0,
                 .context = 2048,
                 .always_qkv_bias = false,
                 .reads_attention_bias = true,
                 .reads_mlp_bias = true,
                 .qk_norm = false},
    Architecture{.name = "MistralForCausalLM",
                 .model_type = "mistral",
                 .family = "llama",
                 .kv_heads = 8,
                 .head_dim = 0,
                 .context = 131072,
                 .always_qkv_bias = false,
                 .reads_attention_bias = false,
                 .reads_mlp_bias = false,
                 .qk_norm = false},
    Architecture{.name = "Qwen2ForCausalLM",
                 .model_type = "qwen2",
                 .family = "qwen2",
                 .kv_heads = 32,
                 .head_dim = 0,
                 .context = 32768,
                 .always_qkv_bias = true,
                 .reads_attention_bias = false,
                 .reads_mlp_bias = false,
                 .qk_norm = false},
    Architecture{.name = "Qwen3ForCausalLM",
                 .model_type = "qwen3",
                 .family = "qwen3",
                 .kv_heads = 32,
                 .head_dim = 128,
                 .context = 32768,
                 .always_qkv_bias = false,
                 .reads_attention_bias = true,
                 .reads_mlp_bias = false,
                 .qk_norm = true},
};

// A JSON object whose values are asked for by type. An absent key and null are different things to
// transformers ("sliding_window": null means none, its absence means the default), so both are reported.
class Fields {
 public:
  Fields(const json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {}

  bool has(const char* key) const { return object_.contains(key); }
  bool is_null(const char* key) const { return has(key) && object_.at(key).is_null(); }
  // nullptr when the key is absent or null.
  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  std::optional<int64_t> integer(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    // An unsigned value past 2^63 would wrap: it is as absurd as a text.
    if (!value->is_number_integer() || (value->is_number_unsigned() && *value > uint64_t(INT64_MAX)))
      throw wrong(key, "an integer");
    return value->get<int64_t>();
  }
  int64_t required_integer(const char* key) const {
    const auto value = integer(key);
    if (!value) throw Error(fmt::format("{}{} is missing", prefix_, key));
    return *value;
  }
  std::optional<double> number(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) throw wrong(key, "a number");
    return value->get<double>();
  }
  double required_number(const char* key) const {
    const auto value = number(key);
    if (!value) throw Error(fmt::format("{}{} is missing", prefix_, key));
    return *value;
  }
  bool boolean(const char* key, bool otherwise) const {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) throw wrong(key, "true or false");
    return value->get<bool>();
  }
  std::optional<std::string> text(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) throw wrong(key, "a text");
    return value->get<std::string>();
  }
  Error wrong(const char* key, std::string_view expected) const {
    const json& value = object_.at(key);
    // Containers are not shown: writing a deeply nested one recurses.
    std::string found = value.is_structured() ? fmt::format("an {}", value.type_name())
                                              : value.dump(-1, ' ', false, json::error_handler_t::replace);
    if (found.size() > 60) found = found.substr(0, 57) + "...";
    return Error(fmt::format("{}{} is {}; expected {}", prefix_, key, found, expected));
  }

 private:
  const json& object_;
  std::string prefix_;
};

const Architecture& find_architecture(const Fields& fields) {
  std::string found;
  if (const json* names = fields.find("architectures")) {
    if (!names->is_array() || names->size() != 1 || !names->front().is_string())
      throw fields.wrong("architectures", "a list of one name");
    found = names->front().get<std::string>();
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
std::vector<float> llama3_divisors(const Fields& rope, double theta, int64_t head_dim, double old_context) {
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

void read_rope_scaling(ModelConfig& config, const Fields& top, const Fields& rope, int64_t head_dim) {
  const std::string type = rope.text("rope_type").value_or(rope.text("type").value_or("default"));
  if (rope.number("partial_rotary_factor").value_or(1) != 1)
    throw rope.wrong("partial_rotary_factor", "1 (rotation of the whole head)");
  if (type == "default") return;
  if (type == "linear") {
    const double factor = rope.required_number("factor");
    config.rope_divisors.assign(size_t(head_dim / 2), float(factor));
  } else if (type == "llama3") {
    const auto beside = top.number("original_max_position_embeddings");
    const auto inside = rope.number("original_max_position_embeddings");
    const double old_context = beside.value_or(inside.value_or(double(config.context)));
    config.rope_divisors = llama3_divisors(rope, config.rope_theta, head_dim, old_context);
  } else {
    throw Error(
        fmt::format("rope scaling \"{}\" is not supported; expected default, linear or llama3", type));
  }
}

// transformers 5 keeps theta and scaling in rope_parameters; before, they were rope_theta and rope_scaling.
void read_rope(ModelConfig& config, const Fields& top, int64_t head_dim) {
  if (top.number("partial_rotary_factor").value_or(1) != 1)
    throw top.wrong("partial_rotary_factor", "1 (rotation of the whole head)");
  config.rope_theta = top.number("rope_theta").value_or(10000);
  const char* key = top.find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  const json* value = top.find(key);
  if (value == nullptr) return;
  if (!value->is_object()) throw top.wrong(key, "an object");
  for (const auto& [name, entry] : value->items())
    if (entry.is_object()) throw top.wrong(key, "one set of parameters for all layers");
  const Fields rope(*value, std::string(key) + ".");
  config.rope_theta = rope.number("rope_theta").value_or(config.rope_theta);
  read_rope_scaling(config, top, rope, head_dim);
}

// Mistral: every layer slides. Qwen: layer_types says which, else the layers from max_window_layers on, and
// only under use_sliding_window. Llama never slides, whatever the file says.
void read_windows(ModelConfig& config, const Architecture& architecture, const Fields& top) {
  if (architecture.model_type == "llama") return;
  int64_t window = 0;
  if (!top.is_null("sliding_window")) window = top.integer("sliding_window").value_or(4096);
  if (architecture.model_type == "mistral") {
    for (LayerShape& layer : config.layers) layer.window = window;
    return;
  }
  if (!top.boolean("use_sliding_window", false)) window = 0;
  const int64_t first = top.integer("max_window_layers").value_or(28);
  const json* types = top.find("layer_types");
  if (types != nullptr && (!types->is_array() || types->size() != config.layers.size()))
    throw top.wrong("layer_types", fmt::format("a list of {} names", config.layers.size()));
  for (size_t i = 0; i < config.layers.size(); ++i) {
    bool slides = window > 0 && int64_t(i) >= first;
    if (types != nullptr) {
      const json& type = (*types)[i];
      slides = type == "sliding_attention";
      if (!slides && type != "full_attention")
        throw top.wrong("layer_types", "full_attention or sliding_attention for each layer");
      if (slides && window == 0)
        throw Error(fmt::format("layer {} is of type sliding_attention, but there is no sliding_window", i));
    }
    config.layers[i].window = slides ? window : 0;
  }
}

LayerShape read_layer_shape(const Architecture& architecture, const Fields& top, int64_t hidden) {
  LayerShape layer;
  layer.heads = top.required_integer("num_attention_heads");
  if (layer.heads < 1) throw top.wrong("num_attention_heads", "at least 1");
  const bool default_kv = !top.has("num_key_value_heads") && architecture.kv_heads != 0;
  layer.kv_heads =
      default_kv ? architecture.kv_heads : top.integer("num_key_value_heads").value_or(layer.heads);
  const int64_t usual = architecture.head_dim != 0 ? architecture.head_dim : hidden / layer.heads;
  layer.head_dim = top.integer("head_dim").value_or(usual);
  layer.ffn = top.required_integer("intermediate_size");
  return layer;
}

void refuse_what_changes_results(const Fields& top) {
  const std::string activation = top.text("hidden_act").value_or("silu");
  if (activation != "silu" && activation != "swish") throw top.wrong("hidden_act", "\"silu\"");
}

ModelConfig read_config(const json& object) {
  const Fields top(object, "");
  const Architecture& architecture = find_architecture(top);
  refuse_what_changes_results(top);
  ModelConfig config;
  config.family = architecture.family;
  config.name = top.text("_name_or_path").value_or("");
  config.hidden = top.required_integer("hidden_size");
  config.vocab = top.required_integer("vocab_size");
  config.context = top.integer("max_position_embeddings").value_or(architecture.context);
  const int64_t layers = top.required_integer("num_hidden_layers");
  if (layers < 1 || layers > 4096) throw top.wrong("num_hidden_layers", "1 to 4096");
  const LayerShape layer = read_layer_shape(architecture, top, config.hidden);
  config.layers.assign(size_t(layers), layer);
  config.rms_epsilon = top.number("rms_norm_eps").value_or(1e-6);
  config.tied_head = top.boolean("tie_word_embeddings", false);
  const bool attention_bias = architecture.reads_attention_bias && top.boolean("attention_bias", false);
  config.qkv_bias = architecture.always_qkv_bias || attention_bias;
  config.o_bias = attention_bias;
  config.mlp_bias = architecture.reads_mlp_bias && top.boolean("mlp_bias", false);
  config.qk_norm = architecture.qk_norm;
  validate(config);  // before head_dim sizes the rope tables
  read_windows(config, architecture, top);
  read_rope(config, top, layer.head_dim);
  validate(config);
  return config;
}

}  // namespace

ModelConfig parse_hf_config(std::string_view json_text) {
  const json object = json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) throw Error("not valid JSON");
  if (!object.is_object()) throw Error("the top level is not an object");
  return read_config(object);
}

}  // namespace edgeq
