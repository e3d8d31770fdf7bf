// SPDX-License-Identifier: Apache-2.0
// ModelConfig <-> edgeq's own JSON. A NaN is written as null, and null does not read as a number: neither
// direction can lose a value silently.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "core/error.h"
#include "models/config.h"

namespace edgeq {
namespace {

using nlohmann::json;

constexpr std::string_view kNorms[] = {"rms", "layer"};
constexpr std::string_view kNonlinearities[] = {"silu", "gelu_tanh", "gelu_erf"};
constexpr std::string_view kResiduals[] = {"sequential", "parallel", "parallel_shared"};
std::span<const std::string_view> names_of(NormKind) { return kNorms; }
std::span<const std::string_view> names_of(Nonlinearity) { return kNonlinearities; }
std::span<const std::string_view> names_of(Residual) { return kResiduals; }

template <class T>
json encode(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(names_of(value)[size_t(value)]);
  } else {
    return value;
  }
}

template <class T>
void decode(const json& value, T& out) {
  if constexpr (std::is_enum_v<T>) {
    const auto text = value.get<std::string>();
    const auto names = names_of(out);
    const auto found = std::ranges::find(names, text);
    if (found == names.end())
      throw Error(fmt::format("model config has \"{}\"; expected one of {}", text, fmt::join(names, ", ")));
    out = T(found - names.begin());
  } else {
    out = value.get<T>();
  }
}

// Every field but the layers, with its key. The first version of the format had those of `visit_first`.
template <class Visit>
void visit_first(const Visit& visit) {
  visit("family", &ModelConfig::family);
  visit("name", &ModelConfig::name);
  visit("hidden", &ModelConfig::hidden);
  visit("vocab", &ModelConfig::vocab);
  visit("context", &ModelConfig::context);
  visit("rms_epsilon", &ModelConfig::norm_epsilon);
  visit("rope_theta", &ModelConfig::rope_theta);
  visit("rope_divisors", &ModelConfig::rope_divisors);
  visit("tied_head", &ModelConfig::tied_head);
  visit("qkv_bias", &ModelConfig::qkv_bias);
  visit("o_bias", &ModelConfig::o_bias);
  visit("mlp_bias", &ModelConfig::mlp_bias);
  visit("qk_norm", &ModelConfig::qk_norm);
}

template <class Visit>
void visit_later(const Visit& visit) {
  visit("norm", &ModelConfig::norm);
  visit("pre_norm", &ModelConfig::pre_norm);
  visit("post_norm", &ModelConfig::post_norm);
  visit("residual", &ModelConfig::residual);
  visit("rotary_dims", &ModelConfig::rotary_dims);
  visit("local_rope_theta", &ModelConfig::local_rope_theta);
  visit("long_rope_divisors", &ModelConfig::long_rope_divisors);
  visit("original_context", &ModelConfig::original_context);
  visit("rope_scale", &ModelConfig::rope_scale);
  visit("learned_positions", &ModelConfig::learned_positions);
  visit("gated_mlp", &ModelConfig::gated_mlp);
  visit("joint_qk_norm", &ModelConfig::joint_qk_norm);
  visit("nonlinearity", &ModelConfig::nonlinearity);
  visit("embedding_scale", &ModelConfig::embedding_scale);
  visit("residual_scale", &ModelConfig::residual_scale);
  visit("logit_divisor", &ModelConfig::logit_divisor);
  visit("attention_scale", &ModelConfig::attention_scale);
  visit("attention_soft_cap", &ModelConfig::attention_soft_cap);
  visit("logit_soft_cap", &ModelConfig::logit_soft_cap);
}

json layer_to_json(const LayerShape& layer) {
  return {{"heads", layer.heads},
          {"kv_heads", layer.kv_heads},
          {"head_dim", layer.head_dim},
          {"ffn", layer.ffn},
          {"window", layer.window}};
}

LayerShape layer_from_json(const json& value) {
  return {.heads = value.at("heads").get<int64_t>(),
          .kv_heads = value.at("kv_heads").get<int64_t>(),
          .head_dim = value.at("head_dim").get<int64_t>(),
          .ffn = value.at("ffn").get<int64_t>(),
          .window = value.at("window").get<int64_t>()};
}

ModelConfig read_fields(const json& value) {
  ModelConfig config;
  std::set<std::string_view> known = {"layers"};
  visit_first([&](const char* key, auto member) {
    known.insert(key);
    decode(value.at(key), config.*member);
  });
  visit_later([&](const char* key, auto member) {
    known.insert(key);
    if (value.contains(key)) decode(value.at(key), config.*member);
  });
  for (const json& layer : value.at("layers")) config.layers.push_back(layer_from_json(layer));
  // What a later build has added changes results: running the model without it would be wrong.
  for (const auto& [key, ignored] : value.items())
    if (!known.contains(key))
      throw Error(fmt::format("model config has a field \"{}\" that this build does not know", key));
  return config;
}

}  // namespace

std::string config_to_json(const ModelConfig& config) {
  const ModelConfig defaults;
  json value = {{"layers", json::array()}};
  for (const LayerShape& layer : config.layers) value["layers"].push_back(layer_to_json(layer));
  visit_first([&](const char* key, auto member) { value[key] = encode(config.*member); });
  visit_later([&](const char* key, auto member) {
    if (config.*member != defaults.*member) value[key] = encode(config.*member);
  });
  // A name that is not UTF-8 is repaired rather than refused: it is only shown.
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

ModelConfig config_from_json(std::string_view json_text) {
  ModelConfig config;
  try {
    config = read_fields(json::parse(json_text));
  } catch (const json::exception& error) {
    throw Error(fmt::format("model config is damaged: {}", error.what()));
  }
  validate(config);
  return config;
}

}  // namespace edgeq
