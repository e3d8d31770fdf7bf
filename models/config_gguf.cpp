// SPDX-License-Identifier: Apache-2.0
// GGUF metadata -> ModelConfig. What metadata does not say is the family's (models/family.h), or is read off
// the tensors: the vocabulary, a tied head, biases, rope divisors. Keys, and what llama.cpp assumes where
// they are missing: src/llama-arch.cpp and src/models/<architecture>.cpp.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "formats/gguf.h"
#include "models/config.h"
#include "models/family.h"
#include "models/names.h"

namespace edgeq {
namespace {

constexpr int64_t kMaxLayers = 4096;

class Metadata {
 public:
  explicit Metadata(const GgufFile& file)
      : file_(file), architecture_(file.get_string("general.architecture")) {}

  const GgufFile& file() const { return file_; }
  const std::string& architecture() const { return architecture_; }
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }

  std::optional<int64_t> find_int(std::string_view name) const { return file_.find_int(key(name)); }
  int64_t get_int(std::string_view name) const { return file_.get_int(key(name)); }
  std::optional<double> find_float(std::string_view name) const { return file_.find_float(key(name)); }

  // One number for all layers, or an array with one per layer; empty when the key is absent.
  std::vector<int64_t> per_layer(std::string_view name, size_t layers) const {
    const std::string full = key(name);
    if (!file_.has(full)) return {};
    if (!file_.is_array(full)) return std::vector<int64_t>(layers, file_.get_int(full));
    std::vector<int64_t> values = file_.get_ints(full);
    if (values.size() != layers)
      throw Error(
          fmt::format("{} has {} items; expected one for each of {} layers", full, values.size(), layers));
    return values;
  }
  std::vector<int64_t> required_per_layer(std::string_view name, size_t layers) const {
    std::vector<int64_t> values = per_layer(name, layers);
    if (values.empty()) throw Error(fmt::format("metadata {} is missing", key(name)));
    return values;
  }

 private:
  const GgufFile& file_;
  std::string architecture_;
};

void refuse_what_changes_results(const Metadata& metadata) {
  const std::string& architecture = metadata.architecture();
  if (find_family(architecture) == nullptr)
    throw Error(fmt::format("architecture \"{}\" is not supported; expected one of {}", architecture,
                            fmt::join(family_names(), ", ")));
  if (metadata.find_int("expert_count").value_or(0) != 0)
    throw Error(fmt::format("{} is {}; mixtures of experts are not supported", metadata.key("expert_count"),
                            metadata.get_int("expert_count")));
  if (const double value = metadata.find_float("attention.clamp_kqv").value_or(0); value != 0)
    throw Error(fmt::format("{} is {}; this is not supported", metadata.key("attention.clamp_kqv"), value));
  if (architecture == "granite") return;
  for (const std::string_view name : {"attention.scale", "logit_scale", "residual_scale", "embedding_scale"})
    if (const double value = metadata.find_float(name).value_or(0); value != 0)
      throw Error(fmt::format("{} is {}; this is not supported", metadata.key(name), value));
}

// True when every layer has the tensor, false when none has. Throws Error for a mixture.
bool every_layer_has(const Metadata& metadata, size_t layers, std::string_view part) {
  const auto name = [&](size_t layer) {
    return checkpoint_name(layer_site(int64_t(layer), part), Naming::gguf, metadata.architecture());
  };
  const bool first = metadata.file().find(name(0)) != nullptr;
  for (size_t i = 1; i < layers; ++i)
    if ((metadata.file().find(name(i)) != nullptr) != first)
      throw Error(fmt::format("tensor {} is {}, while {} is {}; expected it in all layers or in none",
                              name(0), first ? "present" : "missing", name(i),
                              first ? "missing" : "present"));
  return first;
}

bool all_or_none(const Metadata& metadata, size_t layers, std::initializer_list<std::string_view> parts) {
  const bool first = every_layer_has(metadata, layers, *parts.begin());
  for (const std::string_view part : parts)
    if (every_layer_has(metadata, layers, part) != first)
      throw Error(fmt::format("tensors {} and {} are not present together", *parts.begin(), part));
  return first;
}

int64_t read_head_dim(const Metadata& metadata, const ModelConfig& config, int64_t heads) {
  if (heads < 1) throw Error(fmt::format("{} is {}", metadata.key("attention.head_count"), heads));
  const int64_t head_dim = metadata.find_int("attention.key_length").value_or(config.hidden / heads);
  const auto expect_head_dim = [&](std::string_view name) {
    if (const int64_t value = metadata.find_int(name).value_or(head_dim); value != head_dim)
      throw Error(fmt::format("{} is {}; expected the head size {}", metadata.key(name), value, head_dim));
  };
  expect_head_dim("attention.value_length");
  // Rows in interleaved order are of whole heads.
  if (family_of(config).gguf_interleaved) expect_head_dim("rope.dimension_count");
  return head_dim;
}

// One width, and in an array of booleans the layers that slide; or a number n, for all but every n-th.
// Where there is neither, all slide or, in some architectures, those of a usual pattern.
std::vector<int64_t> read_windows(const Metadata& metadata, size_t layers) {
  const std::string& architecture = metadata.architecture();
  const int64_t usual_window = architecture == "gemma2" ? 4096 : 0;
  const int64_t usual_pattern = architecture == "gemma2"   ? 2
                                : architecture == "gemma3" ? 6
                                : architecture == "olmo2"  ? 4
                                                           : 0;
  const int64_t window = metadata.find_int("attention.sliding_window").value_or(usual_window);
  const std::string pattern_key = metadata.key("attention.sliding_window_pattern");
  std::vector<int64_t> windows(layers, window);
  if (metadata.file().is_array(pattern_key)) {
    const std::vector<int64_t> slides = metadata.per_layer("attention.sliding_window_pattern", layers);
    for (size_t i = 0; i < layers; ++i) windows[i] = slides[i] != 0 ? window : 0;
    return windows;
  }
  const int64_t pattern = metadata.find_int("attention.sliding_window_pattern").value_or(usual_pattern);
  if (pattern < 0) throw Error(fmt::format("{} is {}; expected at least 0", pattern_key, pattern));
  for (size_t i = 0; i < layers && pattern > 0; ++i)
    if (int64_t(i + 1) % pattern == 0) windows[i] = 0;
  return windows;
}

void read_layers(ModelConfig& config, const Metadata& metadata) {
  const int64_t count = metadata.get_int("block_count");
  if (count < 1 || count > kMaxLayers)
    throw Error(fmt::format("{} is {}; expected 1 to {}", metadata.key("block_count"), count, kMaxLayers));
  const auto layers = size_t(count);
  const auto heads = metadata.required_per_layer("attention.head_count", layers);
  const auto ffn = metadata.required_per_layer("feed_forward_length", layers);
  auto kv_heads = metadata.per_layer("attention.head_count_kv", layers);
  if (kv_heads.empty()) kv_heads = heads;
  const auto windows = read_windows(metadata, layers);
  const int64_t head_dim = read_head_dim(metadata, config, heads[0]);
  for (size_t i = 0; i < layers; ++i)
    config.layers.push_back({.heads = heads[i],
                             .kv_heads = kv_heads[i],
                             .head_dim = head_dim,
                             .ffn = ffn[i],
                             .window = windows[i]});
}

// A tensor of divisors beside the layers, or none.
std::vector<float> read_divisors(const Metadata& metadata, const std::string& name, size_t half) {
  const EncodedTensor* divisors = metadata.file().find(name);
  if (divisors == nullptr) return {};
  if (divisors->encoding != Encoding::f32 || divisors->shape != Shape{int64_t(half)})
    throw Error(fmt::format("tensor {} is {} {}; expected F32 [{}]", name, encoding_name(divisors->encoding),
                            shape_text(divisors->shape), half));
  std::vector<float> values(half);
  std::memcpy(values.data(), divisors->data, half * sizeof(float));
  return values;
}

// LongRoPE is a pair of tensors, whatever the key of the type says.
bool read_long_rope(ModelConfig& config, const Metadata& metadata, size_t half) {
  config.long_rope_divisors = read_divisors(metadata, "rope_factors_long.weight", half);
  if (config.long_rope_divisors.empty()) return false;
  config.rope_divisors = read_divisors(metadata, "rope_factors_short.weight", half);
  if (config.rope_divisors.empty())
    throw Error("tensor rope_factors_short.weight is missing, while rope_factors_long.weight is present");
  config.original_context =
      metadata.find_int("rope.scaling.original_context_length").value_or(config.context);
  config.rope_scale = metadata.find_float("rope.scaling.attn_factor").value_or(1);
  return true;
}

void read_rope(ModelConfig& config, const Metadata& metadata) {
  if (config.learned_positions) return;
  config.rope_theta = metadata.find_float("rope.freq_base").value_or(10000);
  if (config.family == "gemma3")
    config.local_rope_theta = metadata.find_float("rope.freq_base_swa").value_or(10000);
  const int64_t head_dim = config.layers[0].head_dim;
  const int64_t dims = metadata.find_int("rope.dimension_count").value_or(head_dim);
  if (dims < 2 || dims > head_dim || dims % 2 != 0)
    throw Error(fmt::format("{} is {}; expected an even number up to the head size {}",
                            metadata.key("rope.dimension_count"), dims, head_dim));
  config.rotary_dims = dims == head_dim ? 0 : dims;
  const auto half = size_t(dims / 2);
  if (read_long_rope(config, metadata, half)) return;
  const auto type = metadata.file().find_string(metadata.key("rope.scaling.type"));
  if (type && *type != "none" && *type != "linear")
    throw Error(
        fmt::format("{} is \"{}\"; expected none or linear", metadata.key("rope.scaling.type"), *type));
  // Older files have a bare factor, which means linear scaling.
  const double factor = metadata.find_float("rope.scaling.factor")
                            .value_or(metadata.find_float("rope.scale_linear").value_or(0));
  const bool linear = factor != 0 && factor != 1 && type.value_or("linear") == "linear";
  if (linear) config.rope_divisors.assign(half, float(factor));
  std::vector<float> divisors = read_divisors(metadata, "rope_freqs.weight", half);
  if (divisors.empty()) return;
  for (float& divisor : divisors) divisor *= linear ? float(factor) : 1.0f;
  config.rope_divisors = std::move(divisors);
}

// The factors of Granite and the soft caps of Gemma.
void read_factors(ModelConfig& config, const Metadata& metadata) {
  const auto factor = [&](std::string_view name, double otherwise) {
    const double value = metadata.find_float(name).value_or(0);
    return value == 0 ? otherwise : value;
  };
  if (config.family == "granite") {
    config.embedding_scale = factor("embedding_scale", 1);
    config.residual_scale = factor("residual_scale", 1);
    config.logit_divisor = factor("logit_scale", 1);
    config.attention_scale = factor("attention.scale", 0);
  }
  if (config.family == "gemma2") {
    config.attention_soft_cap = factor("attn_logit_softcapping", 50);
    config.logit_soft_cap = factor("final_logit_softcapping", 30);
  }
  if (config.family == "gemma3") config.logit_soft_cap = factor("final_logit_softcapping", 0);
  if (config.attention_scale == 0) config.attention_scale = gguf_attention_scale(config);
}

void read_residual(ModelConfig& config, const Metadata& metadata) {
  if (config.family == "gptneox") {
    const std::string key = metadata.key("use_parallel_residual");
    const auto parallel = metadata.file().find_bool(key);
    if (!parallel) throw Error(fmt::format("metadata {} is missing", key));
    config.residual = *parallel ? Residual::parallel : Residual::sequential;
  }
  // The key of the same name is not believed by llama.cpp, nor is it right in all files.
  if (config.family == "stablelm" && !every_layer_has(metadata, config.layers.size(), "mlp_norm"))
    config.residual = Residual::parallel_shared;
}

int64_t read_vocabulary(const GgufFile& file) {
  const EncodedTensor* table = file.find("token_embd.weight");
  if (table == nullptr) throw Error("tensor token_embd.weight is missing");
  if (table->shape.size() != 2)
    throw Error(fmt::format("tensor token_embd.weight is {}; expected a matrix", shape_text(table->shape)));
  return table->shape[0];
}

ModelConfig read_config(const GgufFile& file) {
  const Metadata metadata(file);
  refuse_what_changes_results(metadata);
  ModelConfig config;
  config.family = metadata.architecture();
  config.name = file.find_string("general.name").value_or("");
  config.hidden = metadata.get_int("embedding_length");
  config.vocab = read_vocabulary(file);
  config.context = metadata.get_int("context_length");
  family_of(config).set(config);
  config.norm_epsilon = file.get_float(metadata.key(
      config.norm == NormKind::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon"));
  read_layers(config, metadata);
  validate(config);  // before head_dim sizes the rope tables
  read_rope(config, metadata);
  read_factors(config, metadata);
  read_residual(config, metadata);
  const size_t layers = config.layers.size();
  config.tied_head = file.find("output.weight") == nullptr;
  config.qkv_bias =
      all_or_none(metadata, layers, {"attn.q_proj.bias", "attn.k_proj.bias", "attn.v_proj.bias"});
  config.o_bias = every_layer_has(metadata, layers, "attn.o_proj.bias");
  config.mlp_bias = all_or_none(metadata, layers, {"mlp.up_proj.bias", "mlp.down_proj.bias"});
  if (config.gated_mlp) all_or_none(metadata, layers, {"mlp.gate_proj.bias", "mlp.up_proj.bias"});
  validate(config);
  return config;
}

}  // namespace

ModelConfig read_gguf_config(const GgufFile& file) {
  return with_context(file.path(), [&] { return read_config(file); });
}

}  // namespace edgeq
