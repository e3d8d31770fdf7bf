// SPDX-License-Identifier: Apache-2.0
#include "models/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/sites.h"

namespace edgeq {
namespace {

// Far beyond any published model; below them, products of two dimensions fit in 63 bits with room to spare.
constexpr int64_t kMaxLayers = 4096, kMaxHidden = 1 << 20, kMaxVocab = 1 << 24, kMaxHeads = 1 << 14,
                  kMaxHeadDim = 1 << 14, kMaxFfn = 1 << 22, kMaxContext = int64_t(1) << 31;

void check_range(std::string_view what, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    throw Error(fmt::format("{} is {}; expected {} to {}", what, value, low, high));
}

void check_layer(const ModelConfig& config, size_t index) {
  const LayerShape& layer = config.layers[index];
  const auto check = [&](std::string_view what, int64_t value, int64_t low, int64_t high) {
    check_range(fmt::format("layer {}: {}", index, what), value, low, high);
  };
  check("heads", layer.heads, 1, kMaxHeads);
  check("kv_heads", layer.kv_heads, 1, layer.heads);
  check("head_dim", layer.head_dim, 2, kMaxHeadDim);
  check("ffn", layer.ffn, 1, kMaxFfn);
  check("window", layer.window, 0, kMaxContext);
  if (layer.heads % layer.kv_heads != 0)
    throw Error(fmt::format("layer {}: {} heads are not a multiple of {} kv_heads", index, layer.heads,
                            layer.kv_heads));
  if (layer.head_dim % 2 != 0)
    throw Error(fmt::format("layer {}: head_dim is {}; rotary embedding needs an even number", index,
                            layer.head_dim));
  const auto half = size_t(layer.head_dim / 2);
  if (!config.rope_divisors.empty() && config.rope_divisors.size() != half)
    throw Error(fmt::format("layer {}: {} rope divisors for head_dim {}; expected {}", index,
                            config.rope_divisors.size(), layer.head_dim, half));
}

using nlohmann::json;

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

// A NaN is written as null, and null does not read as a number: neither direction can lose a value silently.
ModelConfig read_fields(const json& value) {
  ModelConfig config;
  config.family = value.at("family").get<std::string>();
  config.name = value.at("name").get<std::string>();
  config.hidden = value.at("hidden").get<int64_t>();
  config.vocab = value.at("vocab").get<int64_t>();
  config.context = value.at("context").get<int64_t>();
  for (const json& layer : value.at("layers")) config.layers.push_back(layer_from_json(layer));
  config.rms_epsilon = value.at("rms_epsilon").get<double>();
  config.rope_theta = value.at("rope_theta").get<double>();
  config.rope_divisors = value.at("rope_divisors").get<std::vector<float>>();
  config.tied_head = value.at("tied_head").get<bool>();
  config.qkv_bias = value.at("qkv_bias").get<bool>();
  config.o_bias = value.at("o_bias").get<bool>();
  config.mlp_bias = value.at("mlp_bias").get<bool>();
  config.qk_norm = value.at("qk_norm").get<bool>();
  return config;
}

}  // namespace

int64_t ModelConfig::weight_count() const {
  int64_t count = 0;
  for (const SiteShape& site : all_sites(*this)) count += site.rows * site.cols;
  return count;
}

void validate(const ModelConfig& config) {
  if (config.family != "llama" && config.family != "qwen2" && config.family != "qwen3")
    throw Error(fmt::format("model family is \"{}\"; expected llama, qwen2 or qwen3", config.family));
  check_range("hidden size", config.hidden, 1, kMaxHidden);
  check_range("vocabulary", config.vocab, 1, kMaxVocab);
  check_range("context length", config.context, 1, kMaxContext);
  check_range("number of layers", int64_t(config.layers.size()), 1, kMaxLayers);
  for (size_t i = 0; i < config.layers.size(); ++i) check_layer(config, i);
  // Written so that NaN fails.
  if (!(config.rms_epsilon > 0 && config.rms_epsilon <= 0.1))
    throw Error(fmt::format("RMS norm epsilon is {}; expected above 0, at most 0.1", config.rms_epsilon));
  if (!(config.rope_theta >= 1 && config.rope_theta <= 1e12))
    throw Error(fmt::format("rope theta is {}; expected 1 to 1e12", config.rope_theta));
  for (const float divisor : config.rope_divisors)
    if (!(divisor > 0 && std::isfinite(divisor)))
      throw Error(fmt::format("a rope divisor is {}; expected a positive number", divisor));
}

std::string config_to_json(const ModelConfig& config) {
  json layers = json::array();
  for (const LayerShape& layer : config.layers) layers.push_back(layer_to_json(layer));
  const json value = {{"family", config.family},
                      {"name", config.name},
                      {"hidden", config.hidden},
                      {"vocab", config.vocab},
                      {"context", config.context},
                      {"layers", std::move(layers)},
                      {"rms_epsilon", config.rms_epsilon},
                      {"rope_theta", config.rope_theta},
                      {"rope_divisors", config.rope_divisors},
                      {"tied_head", config.tied_head},
                      {"qkv_bias", config.qkv_bias},
                      {"o_bias", config.o_bias},
                      {"mlp_bias", config.mlp_bias},
                      {"qk_norm", config.qk_norm}};
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
