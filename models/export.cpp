// SPDX-License-Identifier: Apache-2.0
#include "models/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>

#include "core/error.h"
#include "core/interrupt.h"
#include "formats/gguf_blocks.h"
#include "models/names.h"
#include "models/rotary_rows.h"
#include "models/sites.h"
#include "models/tokenizer.h"

namespace edgeq {
namespace {

constexpr int64_t kBlock = 32;

// general.file_type of llama.cpp, by the encoding that most weights have.
uint32_t file_type(Encoding encoding) {
  switch (encoding) {
    case Encoding::f32: return 0;
    case Encoding::f16: return 1;
    case Encoding::q4_0: return 2;
    case Encoding::q4_1: return 3;
    case Encoding::q8_0: return 7;
    case Encoding::q5_0: return 8;
    case Encoding::q5_1: return 9;
    case Encoding::q4_k: return 14;
    case Encoding::q5_k: return 16;
    case Encoding::q6_k: return 18;
    case Encoding::iq4_nl: return 25;
    case Encoding::bf16: return 32;
    default: break;
  }
  EDGEQ_CHECK(false, "only encodings of packed weights are exported");
  return 0;
}

// The scheme with groups of 32, as most block types have them; nullopt when that would change a weight.
std::optional<QuantScheme> block_scheme(const QuantScheme& scheme, int64_t cols) {
  if (block_encoding(scheme)) return scheme;
  if (scheme.store != ScaleStore::f16 || scheme.group_size(cols) % kBlock != 0) return std::nullopt;
  QuantScheme blocks = scheme;
  blocks.group = kBlock;
  return block_encoding(blocks) ? std::optional(blocks) : std::nullopt;
}

Encoding encoding_for(const std::string& site, const WeightForm& form) {
  if (!form.scheme) return encoding_of(form.dtype);
  const auto blocks = block_scheme(*form.scheme, form.cols);
  if (!blocks)
    throw Error(fmt::format("{} is {}, which no GGUF type holds exactly", site, form_text(form)))
        .set_hint("quantize with --for gguf:q4_0 or --for gguf:q8_0");
  return *block_encoding(*blocks);
}

QuantizedTensor split_groups(const QuantizedTensor& q, const QuantScheme& scheme) {
  if (q.scheme == scheme) return q;
  QuantizedTensor split(scheme, q.rows, q.cols);
  split.codes = q.codes;
  const int64_t repeat = q.scheme.group_size(q.cols) / scheme.group;
  for (size_t i = 0; i < split.scales.size(); ++i) {
    split.scales[i] = q.scales[i / size_t(repeat)];
    if (!split.offsets.empty()) split.offsets[i] = q.offsets[i / size_t(repeat)];
  }
  return split;
}

// One tensor of the file, in the order of writing.
struct Item {
  std::string site;
  Encoding encoding;
  Shape shape;
  int64_t rotary_head_dim = 0;  // not 0: rows are put in interleaved order
};

class GgufExport {
 public:
  GgufExport(const CodedModel& model, const std::string& path, OutputFile::Existing existing)
      : model_(model), config_(model.config()), writer_(path, existing) {}

  int64_t run() {
    refuse_what_llama_cpp_lacks();
    list_weights();
    set_metadata();
    set_gguf_tokenizer(writer_, model_.tokenizer().data(), config_.vocab);
    for (const Item& item : items_)
      writer_.declare(checkpoint_name(item.site, Naming::gguf, config_.family), item.encoding, item.shape);
    if (own_divisors())
      writer_.declare("rope_freqs.weight", Encoding::f32, {int64_t(config_.rope_divisors.size())});
    for (const Item& item : items_) {
      check_interrupt();
      write(item);
    }
    if (own_divisors()) writer_.write(std::as_bytes(std::span(config_.rope_divisors)));
    return writer_.finish();
  }

 private:
  bool linear_rope() const {
    return !config_.rope_divisors.empty() &&
           std::ranges::count(config_.rope_divisors, config_.rope_divisors[0]) ==
               std::ssize(config_.rope_divisors);
  }
  bool own_divisors() const { return !config_.rope_divisors.empty() && !linear_rope(); }
  bool llama() const { return config_.family == "llama"; }

  void refuse_what_llama_cpp_lacks() const;
  void list_weights();
  void set_metadata();
  void set_layers();
  void write(const Item& item);

  const CodedModel& model_;
  const ModelConfig& config_;
  GgufWriter writer_;
  std::vector<Item> items_;
};

void GgufExport::refuse_what_llama_cpp_lacks() const {
  const auto refuse = [&](std::string_view what) {
    throw Error(fmt::format("GGUF architecture {} has no {}", config_.family, what));
  };
  if (!llama() && config_.family != "qwen2" && config_.family != "qwen3")
    throw Error(fmt::format("models of family {} are not written as GGUF", config_.family));
  if (llama() && config_.qk_norm) refuse("q and k norms");
  if (!llama() && (config_.o_bias || config_.mlp_bias)) refuse("biases on o_proj or in the MLP");
  if (!llama() && own_divisors()) refuse("rope divisors of its own");
  for (const LayerShape& layer : config_.layers)
    if (layer.head_dim != config_.layers[0].head_dim) refuse("head size per layer");
}

void GgufExport::list_weights() {
  const int64_t head_dim = config_.layers[0].head_dim;
  for (const SiteShape& site : all_sites(config_)) {
    const bool rotary = site.name.ends_with("attn.q_proj") || site.name.ends_with("attn.k_proj");
    items_.push_back({.site = site.name,
                      .encoding = encoding_for(site.name, model_.form(site.name)),
                      .shape = {site.rows, site.cols},
                      .rotary_head_dim = llama() && rotary ? head_dim : 0});
    if (!site.bias) continue;
    Item bias = items_.back();
    bias.site += ".bias";
    bias.encoding = Encoding::f32;
    bias.shape = {site.rows};
    items_.push_back(std::move(bias));
  }
  for (const VectorShape& vector : all_vectors(config_))
    if (!vector.name.ends_with(".bias"))
      items_.push_back({.site = vector.name, .encoding = Encoding::f32, .shape = {vector.size}});
}

void GgufExport::set_metadata() {
  std::map<Encoding, int64_t> weights;
  for (const Item& item : items_)
    if (item.shape.size() == 2) weights[item.encoding] += element_count(item.shape);
  const auto most = std::ranges::max_element(weights, {}, [](const auto& entry) { return entry.second; });
  writer_.set("general.architecture", config_.family);
  writer_.set("general.type", std::string("model"));
  if (!config_.name.empty()) writer_.set("general.name", config_.name);
  writer_.set("general.file_type", file_type(most->first));
  writer_.set("general.quantization_version", uint32_t(2));
  writer_.set("edgeq.provenance", model_.provenance_json());
  set_layers();
}

void GgufExport::set_layers() {
  const auto key = [&](std::string_view name) { return fmt::format("{}.{}", config_.family, name); };
  const auto& layers = config_.layers;
  int64_t context = config_.context;
  for (const LayerShape& layer : layers)
    if (layer.window != 0) context = std::min(context, layer.window);
  // One number, or an array where layers differ.
  const auto set_per_layer = [&](std::string_view name, int64_t LayerShape::*member) {
    std::vector<int32_t> values;
    for (const LayerShape& layer : layers) values.push_back(int32_t(layer.*member));
    if (std::ranges::count(values, values[0]) == std::ssize(values)) {
      writer_.set(key(name), uint32_t(values[0]));
    } else {
      writer_.set(key(name), std::move(values));
    }
  };
  const auto head_dim = uint32_t(layers[0].head_dim);
  writer_.set(key("context_length"), uint32_t(context));
  writer_.set(key("embedding_length"), uint32_t(config_.hidden));
  writer_.set(key("block_count"), uint32_t(layers.size()));
  set_per_layer("feed_forward_length", &LayerShape::ffn);
  set_per_layer("attention.head_count", &LayerShape::heads);
  set_per_layer("attention.head_count_kv", &LayerShape::kv_heads);
  writer_.set(key("attention.key_length"), head_dim);
  writer_.set(key("attention.value_length"), head_dim);
  writer_.set(key("attention.layer_norm_rms_epsilon"), float(config_.norm_epsilon));
  writer_.set(key("rope.dimension_count"), head_dim);
  writer_.set(key("rope.freq_base"), float(config_.rope_theta));
  if (linear_rope()) {
    writer_.set(key("rope.scaling.type"), std::string("linear"));
    writer_.set(key("rope.scaling.factor"), config_.rope_divisors[0]);
  }
  writer_.set(key("vocab_size"), uint32_t(config_.vocab));
}

void GgufExport::write(const Item& item) {
  if (item.shape.size() == 1) {
    const Tensor vector = to_interleaved(model_.vector(item.site), item.rotary_head_dim);
    writer_.write({vector.data(), size_t(vector.bytes())});
    return;
  }
  CodedWeight weight = model_.weight(item.site);
  if (!weight.codes) {
    const Tensor matrix = to_interleaved(std::move(weight.kept), item.rotary_head_dim);
    writer_.write({matrix.data(), size_t(matrix.bytes())});
    return;
  }
  const QuantScheme scheme = *block_scheme(weight.codes->scheme, weight.codes->cols);
  writer_.write(encode_blocks(to_interleaved(split_groups(*weight.codes, scheme), item.rotary_head_dim)));
}

}  // namespace

int64_t export_gguf(const CodedModel& model, const std::string& path, OutputFile::Existing existing) {
  return with_context(path, [&] { return GgufExport(model, path, existing).run(); });
}

}  // namespace edgeq
