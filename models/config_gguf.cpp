// SPDX-License-Identifier: Apache-2.0
// GGUF metadata -> ModelConfig, for the architectures llama (also Mistral and SmolLM2), qwen2 and qwen3. What
// metadata does not say is read off the tensors: the vocabulary, a tied head, biases, Llama-3 rope scaling.
#include <fmt/format.h>

#include <cstring>

#include "core/error.h"
#include "formats/gguf.h"
#include "models/config.h"
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
  if (architecture != "llama" && architecture != "qwen2" && architecture != "qwen3")
    throw Error(
        fmt::format("architecture \"{}\" is not supported; expected llama, qwen2 or qwen3", architecture));
  if (metadata.find_int("expert_count").value_or(0) != 0)
    throw Error(fmt::format("{} is {}; mixtures of experts are not supported", metadata.key("expert_count"),
                            metadata.get_int("expert_count")));
  for (const std::string_view name :
       {"attention.scale", "attention.clamp_kqv", "logit_scale", "residual_scale", "embedding_scale"})
    if (const double value = metadata.find_float(name).value_or(0); value != 0)
      throw Error(fmt::format("{} is {}; this is not supported", metadata.key(name), value));
}

// True when every layer has the tensor, false when none has. Throws Error for a mixture.
bool every_layer_has(const Metadata& metadata, size_t layers, std::string_view part) {
  const auto name = [&](size_t layer) {
    return checkpoint_name(layer_site(int64_t(layer), part), Naming::gguf);
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
  for (const std::string_view name : {"attention.value_length", "rope.dimension_count"})
    if (const int64_t value = metadata.find_int(name).value_or(head_dim); value != head_dim)
      throw Error(fmt::format("{} is {}; expected the head size {}", metadata.key(name), value, head_dim));
  return head_dim;
}

// As other architectures have it: one width, and in an array of booleans the layers that slide.
std::vector<int64_t> read_windows(const Metadata& metadata, size_t layers) {
  const int64_t window = metadata.find_int("attention.sliding_window").value_or(0);
  std::vector<int64_t> slides = metadata.per_layer("attention.sliding_window_pattern", layers);
  if (slides.empty()) return std::vector<int64_t>(layers, window);
  if (!metadata.file().is_array(metadata.key("attention.sliding_window_pattern")))
    throw Error(fmt::format("{} is a number; expected one boolean for each layer",
                            metadata.key("attention.sliding_window_pattern")));
  for (int64_t& slide : slides) slide = slide != 0 ? window : 0;
  return slides;
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

void read_rope(ModelConfig& config, const Metadata& metadata) {
  config.rope_theta = metadata.find_float("rope.freq_base").value_or(10000);
  const auto half = size_t(config.layers[0].head_dim / 2);
  const auto type = metadata.file().find_string(metadata.key("rope.scaling.type"));
  if (type && *type != "none" && *type != "linear")
    throw Error(
        fmt::format("{} is \"{}\"; expected none or linear", metadata.key("rope.scaling.type"), *type));
  // Older files have a bare factor, which means linear scaling.
  const double factor = metadata.find_float("rope.scaling.factor")
                            .value_or(metadata.find_float("rope.scale_linear").value_or(0));
  if (factor != 0 && factor != 1 && type.value_or("linear") == "linear")
    config.rope_divisors.assign(half, float(factor));
  const EncodedTensor* divisors = metadata.file().find("rope_freqs.weight");
  if (divisors == nullptr) return;
  if (divisors->encoding != Encoding::f32 || divisors->shape != Shape{int64_t(half)})
    throw Error(fmt::format("tensor rope_freqs.weight is {} {}; expected F32 [{}]",
                            encoding_name(divisors->encoding), shape_text(divisors->shape), half));
  const float scale = config.rope_divisors.empty() ? 1.0f : config.rope_divisors[0];
  config.rope_divisors.resize(half);
  std::memcpy(config.rope_divisors.data(), divisors->data, half * sizeof(float));
  for (float& divisor : config.rope_divisors) divisor *= scale;
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
  config.rms_epsilon = file.get_float(metadata.key("attention.layer_norm_rms_epsilon"));
  read_layers(config, metadata);
  validate(config);  // before head_dim sizes the rope tables
  read_rope(config, metadata);
  const size_t layers = config.layers.size();
  config.tied_head = file.find("output.weight") == nullptr;
  config.qkv_bias =
      all_or_none(metadata, layers, {"attn.q_proj.bias", "attn.k_proj.bias", "attn.v_proj.bias"});
  config.o_bias = every_layer_has(metadata, layers, "attn.o_proj.bias");
  config.mlp_bias =
      all_or_none(metadata, layers, {"mlp.gate_proj.bias", "mlp.up_proj.bias", "mlp.down_proj.bias"});
  config.qk_norm = config.family == "qwen3";
  validate(config);
  return config;
}

}  // namespace

ModelConfig read_gguf_config(const GgufFile& file) {
  return with_context(file.path(), [&] { return read_config(file); });
}

}  // namespace edgeq
