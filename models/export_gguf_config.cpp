// SPDX-License-Identifier: Apache-2.0
// A config as GGUF metadata. Most of a family's choices have no key: llama.cpp knows them by the
// architecture's name (src/models/<architecture>.cpp), so a model that chooses otherwise is refused.
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "models/export.h"
#include "models/family.h"

namespace edgeq {
namespace {

class GgufConfig {
 public:
  explicit GgufConfig(const ModelConfig& config) : config_(config) {
    usual_.hidden = config.hidden;
    usual_.layers = config.layers;
    family_of(config).set(usual_);
  }

  void check() const {
    check_pieces();
    check_biases();
    check_factors();
    check_rope();
    check_shapes();
  }

  void set(GgufWriter& writer) const {
    set_layers(writer);
    set_rope(writer);
    set_windows(writer);
    const auto put = [&](std::string_view name, double value) { writer.set(key(name), float(value)); };
    put(config_.norm == NormKind::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
        config_.norm_epsilon);
    if (is("granite")) {
      put("embedding_scale", config_.embedding_scale);
      put("residual_scale", config_.residual_scale);
      put("logit_scale", config_.logit_divisor);
      if (config_.attention_scale != 0) put("attention.scale", config_.attention_scale);
    }
    if (config_.attention_soft_cap != 0) put("attn_logit_softcapping", config_.attention_soft_cap);
    if (config_.logit_soft_cap != 0) put("final_logit_softcapping", config_.logit_soft_cap);
    if (is("gptneox") || is("stablelm"))
      writer.set(key("use_parallel_residual"), config_.residual != Residual::sequential);
    writer.set(key("vocab_size"), uint32_t(config_.vocab));
  }

 private:
  bool is(std::string_view family) const { return config_.family == family; }
  bool gemma() const { return is("gemma2") || is("gemma3"); }
  bool gpt() const { return is("gptneox") || is("gpt2"); }
  // llama.cpp gives these layers their windows; elsewhere it attends to everything.
  bool slides() const { return gemma() || is("olmo2"); }
  std::string key(std::string_view name) const { return fmt::format("{}.{}", config_.family, name); }
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(fmt::format("GGUF architecture {} has no {}", config_.family, what));
  }

  void check_pieces() const {
    const ModelConfig &c = config_, &u = usual_;
    if (c.qk_norm != u.qk_norm || c.joint_qk_norm != u.joint_qk_norm)
      refuse(c.qk_norm ? "q and k norms" : "attention without q and k norms");
    if (c.norm != u.norm || c.pre_norm != u.pre_norm || c.post_norm != u.post_norm)
      refuse("norms of this kind in these places");
    if (c.gated_mlp != u.gated_mlp || c.nonlinearity != u.nonlinearity) refuse("feed-forward of this kind");
    if (c.learned_positions != u.learned_positions) refuse("positions of this kind");
    const Residual other = is("gptneox")    ? Residual::parallel
                           : is("stablelm") ? Residual::parallel_shared
                                            : Residual::sequential;
    if (c.residual != Residual::sequential && c.residual != other) refuse("residual of this kind");
  }

  void check_biases() const {
    const bool any = is("llama") || is("granite");
    if (gpt() && !(config_.qkv_bias && config_.o_bias && config_.mlp_bias)) refuse("layers without biases");
    if (any || gpt()) return;
    if (config_.o_bias || config_.mlp_bias) refuse("biases on o_proj or in the MLP");
    if (config_.qkv_bias && !is("qwen2") && !is("qwen3") && !is("stablelm")) refuse("biases on q, k and v");
  }

  void check_factors() const {
    const ModelConfig &c = config_, &u = usual_;
    const bool granite = is("granite");
    if (!granite && (c.embedding_scale != u.embedding_scale || c.residual_scale != 1 || c.logit_divisor != 1))
      refuse("scales of its own");
    if (!granite && c.attention_scale != gguf_attention_scale(c)) refuse("attention scale of its own");
    if (is("gemma2") ? c.attention_soft_cap == 0 || c.logit_soft_cap == 0 : c.attention_soft_cap != 0)
      refuse(is("gemma2") ? "logits without a soft cap" : "soft cap of attention");
    if (!gemma() && c.logit_soft_cap != 0) refuse("soft cap of logits");
  }

  void check_rope() const {
    const bool partial = is("phi3") || is("stablelm") || is("gptneox");
    if (config_.rotary_dims != 0 && !partial) refuse("partial rotation");
    if (!config_.long_rope_divisors.empty() ? !is("phi3") : config_.rope_scale != 1) refuse("LongRoPE");
    if (gguf_own_divisors(config_) && !is("llama") && !is("granite")) refuse("rope divisors of its own");
    if ((config_.local_rope_theta != 0) != is("gemma3"))
      refuse("rotation of its own in layers with a window");
  }

  void check_shapes() const {
    const auto& layers = config_.layers;
    int64_t window = 0;
    for (const LayerShape& layer : layers) {
      if (layer.head_dim != layers[0].head_dim) refuse("head size per layer");
      const bool by_heads = !is("llama") && !is("qwen2") && !is("qwen3") && !is("granite") && !gemma();
      if (by_heads && layer.head_dim * layer.heads != config_.hidden) refuse("head size of its own");
      if (slides() && layer.window != 0 && window != 0 && layer.window != window) refuse("window per layer");
      window = std::max(window, layer.window);
    }
    if (is("gemma2") && !config_.tied_head) refuse("head beside the embedding");
  }

  void set_layers(GgufWriter& writer) const {
    const auto& layers = config_.layers;
    int64_t context = config_.context;
    for (const LayerShape& layer : layers)
      if (layer.window != 0 && !slides()) context = std::min(context, layer.window);
    // One number, or an array where layers differ.
    const auto set_per_layer = [&](std::string_view name, int64_t LayerShape::*member) {
      std::vector<int32_t> values;
      for (const LayerShape& layer : layers) values.push_back(int32_t(layer.*member));
      if (std::ranges::count(values, values[0]) == std::ssize(values)) {
        writer.set(key(name), uint32_t(values[0]));
      } else {
        writer.set(key(name), std::move(values));
      }
    };
    writer.set(key("context_length"), uint32_t(context));
    writer.set(key("embedding_length"), uint32_t(config_.hidden));
    writer.set(key("block_count"), uint32_t(layers.size()));
    set_per_layer("feed_forward_length", &LayerShape::ffn);
    set_per_layer("attention.head_count", &LayerShape::heads);
    set_per_layer("attention.head_count_kv", &LayerShape::kv_heads);
    writer.set(key("attention.key_length"), uint32_t(layers[0].head_dim));
    writer.set(key("attention.value_length"), uint32_t(layers[0].head_dim));
  }

  void set_rope(GgufWriter& writer) const {
    if (config_.learned_positions) return;
    const int64_t dims = config_.rotary_dims != 0 ? config_.rotary_dims : config_.layers[0].head_dim;
    writer.set(key("rope.dimension_count"), uint32_t(dims));
    writer.set(key("rope.freq_base"), float(config_.rope_theta));
    if (config_.local_rope_theta != 0) writer.set(key("rope.freq_base_swa"), float(config_.local_rope_theta));
    if (!config_.long_rope_divisors.empty()) {
      writer.set(key("rope.scaling.original_context_length"), uint32_t(config_.original_context));
      writer.set(key("rope.scaling.attn_factor"), float(config_.rope_scale));
    } else if (!config_.rope_divisors.empty() && !gguf_own_divisors(config_)) {
      writer.set(key("rope.scaling.type"), std::string("linear"));
      writer.set(key("rope.scaling.factor"), config_.rope_divisors[0]);
    }
  }

  void set_windows(GgufWriter& writer) const {
    if (!slides()) return;
    int64_t window = 0;
    std::vector<int32_t> pattern;
    for (const LayerShape& layer : config_.layers) {
      window = std::max(window, layer.window);
      pattern.push_back(layer.window != 0);
    }
    if (window == 0 && !is("gemma2")) return;
    writer.set(key("attention.sliding_window"), uint32_t(window != 0 ? window : config_.context));
    writer.set(key("attention.sliding_window_pattern"), std::move(pattern));
  }

  const ModelConfig& config_;
  ModelConfig usual_;  // what the architecture's name says
};

}  // namespace

bool gguf_own_divisors(const ModelConfig& config) {
  const std::vector<float>& divisors = config.rope_divisors;
  return config.long_rope_divisors.empty() && !divisors.empty() &&
         std::ranges::count(divisors, divisors[0]) != std::ssize(divisors);
}

void check_gguf_config(const ModelConfig& config) { GgufConfig(config).check(); }
void set_gguf_config(GgufWriter& writer, const ModelConfig& config) { GgufConfig(config).set(writer); }

}  // namespace edgeq
