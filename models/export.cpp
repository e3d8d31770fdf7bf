// SPDX-License-Identifier: Apache-2.0
#include "models/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <utility>

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

QuantizedTensor split_groups(QuantizedTensor q, const QuantScheme& scheme) {
  if (q.scheme == scheme) return q;
  QuantizedTensor split(scheme, q.rows, q.cols);
  split.codes = std::move(q.codes);
  const int64_t repeat = q.scheme.group_size(q.cols) / scheme.group;
  for (size_t i = 0; i < split.scales.size(); ++i) {
    split.scales[i] = q.scales[i / size_t(repeat)];
    if (!split.offsets.empty()) split.offsets[i] = q.offsets[i / size_t(repeat)];
  }
  return split;
}

// One tensor of the file, in the order of writing.
struct Item {
  std::string name;
  std::vector<std::string> members;  // ours that lie in it, one behind the other
  Encoding encoding;
  Shape shape;
  int64_t rotary_head_dim = 0;  // not 0: rows are put in interleaved order
};

class GgufExport {
 public:
  GgufExport(const CodedModel& model, const std::string& path, OutputFile::Existing existing)
      : model_(model), config_(model.config()), writer_(path, existing) {}

  int64_t run() {
    check_gguf_config(config_);
    list_weights();
    set_metadata();
    set_gguf_tokenizer(writer_, model_.tokenizer().data(), config_.vocab);
    for (const Item& item : items_) writer_.declare(item.name, item.encoding, item.shape);
    const auto tables = divisor_tables();
    for (const auto& [name, divisors] : tables)
      writer_.declare(name, Encoding::f32, {int64_t(divisors->size())});
    for (const Item& item : items_) {
      check_interrupt();
      for (const std::string& member : item.members) write(member, item);
    }
    for (const auto& [name, divisors] : tables) writer_.write(std::as_bytes(std::span(*divisors)));
    return writer_.finish();
  }

 private:
  // Rope divisors that are no metadata.
  std::vector<std::pair<std::string, const std::vector<float>*>> divisor_tables() const {
    if (!config_.long_rope_divisors.empty())
      return {{"rope_factors_long.weight", &config_.long_rope_divisors},
              {"rope_factors_short.weight", &config_.rope_divisors}};
    if (gguf_own_divisors(config_)) return {{"rope_freqs.weight", &config_.rope_divisors}};
    return {};
  }
  // llama.cpp wants a head of these architectures, tied or not.
  bool needs_head() const {
    return config_.family == "olmo2" || config_.family == "stablelm" || config_.family == "gptneox";
  }

  void list_weights();
  void add(const std::string& name, const Placement& place, Encoding encoding, const Shape& shape);
  void set_metadata();
  void write(const Tensor& tensor) { writer_.write({tensor.data(), size_t(tensor.bytes())}); }
  void write(const std::string& member, const Item& item);

  const CodedModel& model_;
  const ModelConfig& config_;
  GgufWriter writer_;
  std::vector<Item> items_;
};

void GgufExport::add(const std::string& name, const Placement& place, Encoding encoding, const Shape& shape) {
  const auto fused = std::ranges::find(items_, place.name, &Item::name);
  if (fused == items_.end()) {
    items_.push_back({.name = place.name,
                      .members = {name},
                      .encoding = encoding,
                      .shape = place.stored_shape(shape),
                      .rotary_head_dim = place.interleaved ? place.head_dim : 0});
    return;
  }
  if (fused->encoding != encoding)
    throw Error(fmt::format("{} is {} and {} is {}; in GGUF both are {}", fused->members[0],
                            encoding_name(fused->encoding), name, encoding_name(encoding), place.name));
  fused->members.push_back(name);
}

void GgufExport::list_weights() {
  const auto place_of = [&](const std::string& name, int64_t rows) {
    return placement(config_, name, rows, Naming::gguf);
  };
  for (const SiteShape& site : all_sites(config_)) {
    const Encoding encoding = encoding_for(site.name, model_.form(site.name));
    add(site.name, place_of(site.name, site.rows), encoding, {site.rows, site.cols});
    if (site.name == "embedding" && config_.tied_head && needs_head())
      add(site.name, place_of("head", site.rows), encoding, {site.rows, site.cols});
    const std::string bias = site.name + ".bias";
    if (site.bias) add(bias, place_of(bias, site.rows), Encoding::f32, {site.rows});
  }
  for (const VectorShape& vector : all_vectors(config_)) {
    if (vector.name.ends_with("_proj.bias")) continue;  // of a site
    Shape shape = {vector.size};
    if (vector.cols != 0) shape = {vector.size / vector.cols, vector.cols};
    add(vector.name, place_of(vector.name, shape[0]), Encoding::f32, shape);
  }
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
  set_gguf_config(writer_, config_);
}

void GgufExport::write(const std::string& member, const Item& item) {
  const int64_t head_dim = item.rotary_head_dim;
  if (item.shape.size() == 1 || member == "positions")
    return write(to_interleaved(model_.vector(member), head_dim));
  CodedWeight weight = model_.weight(member);
  if (!weight.codes) return write(to_interleaved(std::move(weight.kept), head_dim));
  const QuantScheme scheme = *block_scheme(weight.codes->scheme, weight.codes->cols);
  writer_.write(encode_blocks(to_interleaved(split_groups(std::move(*weight.codes), scheme), head_dim)));
}

}  // namespace

std::vector<std::string> gguf_notes(const CodedModel& model) {
  std::vector<std::string> notes;
  int64_t window = 0;
  for (const LayerShape& layer : model.config().layers) window = std::max(window, layer.window);
  // The architectures whose window llama.cpp does not read.
  const std::string& family = model.config().family;
  const bool unread = family == "llama" || family == "qwen2" || family == "qwen3";
  if (unread && window != 0 && window < model.config().context)
    notes.push_back(
        fmt::format("the context is cut to the sliding window of {}, which llama.cpp lacks here", window));
  for (std::string& note : gguf_tokenizer_notes(model.tokenizer().data())) notes.push_back(std::move(note));
  return notes;
}

int64_t export_gguf(const CodedModel& model, const std::string& path, OutputFile::Existing existing) {
  return with_context(path, [&] { return GgufExport(model, path, existing).run(); });
}

}  // namespace edgeq
