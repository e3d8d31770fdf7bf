// SPDX-License-Identifier: Apache-2.0
#include "models/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "core/error.h"
#include "models/family.h"
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

int64_t rotary_dims_of(const ModelConfig& config, const LayerShape& layer) {
  if (config.learned_positions) return 0;
  return config.rotary_dims == 0 ? layer.head_dim : config.rotary_dims;
}

void check_rotary(const ModelConfig& config, size_t index) {
  const LayerShape& layer = config.layers[index];
  if (config.learned_positions) return;
  if (config.rotary_dims == 0 && layer.head_dim % 2 != 0)
    throw Error(fmt::format("layer {}: head_dim is {}; rotary embedding needs an even number", index,
                            layer.head_dim));
  if (config.rotary_dims % 2 != 0 || config.rotary_dims < 0 || config.rotary_dims > layer.head_dim)
    throw Error(fmt::format("layer {}: {} rotary dimensions; expected an even number up to head_dim {}",
                            index, config.rotary_dims, layer.head_dim));
  const auto half = size_t(rotary_dims_of(config, layer) / 2);
  for (const std::vector<float>* divisors : {&config.rope_divisors, &config.long_rope_divisors})
    if (!divisors->empty() && divisors->size() != half)
      throw Error(fmt::format("layer {}: {} rope divisors for head_dim {}; expected {}", index,
                              divisors->size(), layer.head_dim, half));
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
  check_rotary(config, index);
}

void check_rope(const ModelConfig& config) {
  // Written so that NaN fails.
  const double local_theta = config.local_rope_theta == 0 ? config.rope_theta : config.local_rope_theta;
  for (const double theta : {config.rope_theta, local_theta})
    if (!(theta >= 1 && theta <= 1e12))
      throw Error(fmt::format("rope theta is {}; expected 1 to 1e12", theta));
  for (const std::vector<float>* divisors : {&config.rope_divisors, &config.long_rope_divisors})
    for (const float divisor : *divisors)
      if (!(divisor > 0 && std::isfinite(divisor)))
        throw Error(fmt::format("a rope divisor is {}; expected a positive number", divisor));
  check_range("original context length", config.original_context, config.long_rope_divisors.empty() ? 0 : 1,
              kMaxContext);
}

// Factors are positive; `optional` ones are 0 where they do not apply.
void check_factors(const ModelConfig& config) {
  struct Factor {
    std::string_view name;
    double value;
    bool optional;
  };
  for (const Factor& factor : {Factor{"rope scale", config.rope_scale, false},
                               {"embedding scale", config.embedding_scale, false},
                               {"residual scale", config.residual_scale, false},
                               {"logit divisor", config.logit_divisor, false},
                               {"attention scale", config.attention_scale, true},
                               {"soft cap of attention", config.attention_soft_cap, true},
                               {"soft cap of logits", config.logit_soft_cap, true}}) {
    if (factor.optional && factor.value == 0) continue;
    if (!(factor.value >= 1e-6 && factor.value <= 1e6))
      throw Error(fmt::format("{} is {}; expected 1e-6 to 1e6", factor.name, factor.value));
  }
}

void check_pieces(const ModelConfig& config) {
  if (config.joint_qk_norm && !config.qk_norm)
    throw Error("the joint norm of q and k is set without qk_norm");
  if (!config.gated_mlp && config.nonlinearity == Nonlinearity::silu)
    throw Error("a feed-forward without a gate has silu; expected gelu");
  if (config.residual != Residual::sequential && !config.pre_norm)
    throw Error("attention and feed-forward read the block's input without a norm");
}

}  // namespace

int64_t ModelConfig::weight_count() const {
  int64_t count = 0;
  for (const SiteShape& site : all_sites(*this)) count += site.rows * site.cols;
  return count;
}

Rope rope_of(const ModelConfig& config, const LayerShape& layer, int64_t tokens) {
  Rope rope{.dims = rotary_dims_of(config, layer), .theta = config.rope_theta, .scale = config.rope_scale};
  if (rope.dims == 0) return {};
  if (layer.window > 0 && config.local_rope_theta != 0) {
    rope.theta = config.local_rope_theta;
    return rope;
  }
  const bool is_long = !config.long_rope_divisors.empty() && tokens > config.original_context;
  rope.divisors = is_long ? config.long_rope_divisors : config.rope_divisors;
  return rope;
}

double attention_scale_of(const ModelConfig& config, const LayerShape& layer) {
  return config.attention_scale != 0 ? config.attention_scale : 1 / std::sqrt(double(layer.head_dim));
}

void validate(const ModelConfig& config) {
  if (find_family(config.family) == nullptr)
    throw Error(fmt::format("model family is \"{}\"; expected one of {}", config.family,
                            fmt::join(family_names(), ", ")));
  check_range("hidden size", config.hidden, 1, kMaxHidden);
  check_range("vocabulary", config.vocab, 1, kMaxVocab);
  check_range("context length", config.context, 1, kMaxContext);
  check_range("number of layers", int64_t(config.layers.size()), 1, kMaxLayers);
  for (size_t i = 0; i < config.layers.size(); ++i) check_layer(config, i);
  if (!(config.norm_epsilon > 0 && config.norm_epsilon <= 0.1))
    throw Error(fmt::format("norm epsilon is {}; expected above 0, at most 0.1", config.norm_epsilon));
  check_rope(config);
  check_factors(config);
  check_pieces(config);
}

}  // namespace edgeq
