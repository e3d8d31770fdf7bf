// SPDX-License-Identifier: Apache-2.0
#include "models/export_hf.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/half.h"
#include "core/interrupt.h"
#include "formats/awq.h"
#include "formats/compressed_tensors.h"
#include "formats/gptq.h"
#include "formats/output_folder.h"
#include "formats/safetensors.h"
#include "models/family.h"
#include "models/hf_items.h"
#include "models/sites.h"

namespace edgeq {
namespace {

constexpr int64_t kPieceElements = 1 << 22;  // of a weight that is dequantized while it is written

bool is_quantized(HfLayout layout) { return layout != HfLayout::floats; }

std::vector<LayerTensor> layer_tensors(HfLayout layout, const QuantizedTensor& codes) {
  switch (layout) {
    case HfLayout::floats: break;
    case HfLayout::gptq: return write_gptq(codes, GptqVersion::v1);
    case HfLayout::gptq_v2: return write_gptq(codes, GptqVersion::v2);
    case HfLayout::awq: return write_awq(codes);
    case HfLayout::compressed: return write_compressed(CompressedFormat::pack_quantized, codes);
    case HfLayout::compressed_w8a8: return write_compressed(CompressedFormat::int_quantized, codes);
  }
  EDGEQ_CHECK(false, "a folder of floats has no codes");
  return {};
}

std::optional<std::string> layout_obstacle(HfLayout layout, const QuantScheme& scheme, int64_t rows,
                                           int64_t cols) {
  switch (layout) {
    case HfLayout::floats: break;
    case HfLayout::gptq:
    case HfLayout::gptq_v2: return gptq_obstacle(scheme, rows, cols);
    case HfLayout::awq: return awq_obstacle(scheme, rows);
    case HfLayout::compressed: return compressed_obstacle(CompressedFormat::pack_quantized, scheme);
    case HfLayout::compressed_w8a8: return compressed_obstacle(CompressedFormat::int_quantized, scheme);
  }
  return std::nullopt;
}

// Larger than any padding and name: a bound is all that cutting into shards needs.
int64_t stored_bytes(const WeightForm& form) {
  if (!form.scheme) return form.rows * form.cols * dtype_bytes(form.dtype);
  return int64_t(double(form.rows * form.cols) * form.scheme->bits_per_weight(form.cols) / 8) +
         4 * (form.rows + form.cols);
}

// Norms and biases.
DType vector_dtype(const Tensor& vector) {
  const float* values = vector.f32();
  const bool exact =
      std::all_of(values, values + vector.size(), [](float v) { return round_to_f16(v) == v; });
  return exact ? DType::f16 : DType::f32;
}

class HfExport {
 public:
  HfExport(const CodedModel& model, const std::string& folder, const HfOptions& options)
      : model_(model), options_(options), out_(folder, options.existing) {}

  int64_t run() {
    refuse_what_the_layout_lacks();
    write_texts();
    int64_t bytes = 0;
    const auto shards = cut();
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    for (size_t s = 0; s < shards.size(); ++s) {
      const std::string name = shards.size() == 1
                                   ? "model.safetensors"
                                   : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
      bytes += write_shard(name, shards[s], map);
    }
    if (shards.size() > 1)
      out_.write(
          "model.safetensors.index.json",
          nlohmann::ordered_json{{"metadata", {{"total_size", total_size_}}}, {"weight_map", map}}.dump(2));
    out_.commit();
    return bytes;
  }

 private:
  void refuse_what_the_layout_lacks() const {
    check_hf_config(model_.config(), options_.layout);
    for (const SiteShape& site : all_sites(model_.config())) {
      const WeightForm form = model_.form(site.name);
      if (const auto obstacle = hf_obstacle(options_, site.name, form))
        throw Error(fmt::format("{} is {}: {}", site.name, form_text(form), *obstacle));
    }
  }

  void write_texts() {
    const Tokenizer tokenizer = model_.tokenizer();
    const TokenizerData& data = tokenizer.data();
    const std::string quantization =
        is_quantized(options_.layout) ? hf_quantization_json(model_, options_) : std::string();
    const DType dtype = is_quantized(options_.layout) ? DType::f16 : options_.dtype;
    out_.write("config.json", hf_config_json(model_.config(), data, dtype, quantization));
    if (!quantization.empty()) out_.write("quantize_config.json", quantization + "\n");
    out_.write("tokenizer.json", tokenizer_json(data));
    out_.write("tokenizer_config.json", tokenizer_config_json(data, model_.config().context));
    out_.write("generation_config.json", generation_config_json(data));
  }

  // An item that is larger than a shard has one of its own.
  std::vector<std::vector<HfItem>> cut() const {
    std::vector<std::vector<HfItem>> shards(1);
    int64_t bytes = 0;
    for (HfItem& item : hf_items(model_, options_)) {
      const int64_t more = stored_bytes(item.form);
      if (bytes + more > options_.shard_bytes && !shards.back().empty()) {
        shards.emplace_back();
        bytes = 0;
      }
      bytes += more;
      shards.back().push_back(std::move(item));
    }
    return shards;
  }

  int64_t write_shard(const std::string& file, const std::vector<HfItem>& items,
                      nlohmann::ordered_json& map) {
    SafetensorsWriter writer(out_.file(file), OutputFile::Existing::refuse, SafetensorsWriter::kHeaderRoom,
                             SafetensorsWriter::Alignment::elements);
    for (const HfItem& item : items) {
      check_interrupt();
      with_context(item.members[0].name, [&] { write_item(item, writer); });
    }
    for (const SafetensorsEntry& tensor : writer.tensors()) {
      map[tensor.name] = file;
      total_size_ += int64_t(tensor.end - tensor.begin);
    }
    return writer.finish({{"format", "pt"}});
  }

  void write_item(const HfItem& item, SafetensorsWriter& writer) const {
    if (item.form.scheme) return write_codes(item, writer);
    if (item.weight && item.plain()) return write_rows(item, writer);
    const Tensor floats = hf_floats(model_, item);
    const DType dtype = item.weight ? item.form.dtype : vector_dtype(floats);
    const Tensor stored = from_f32(floats, dtype);
    writer.add(item.name, dtype, item.shape(), {stored.data(), size_t(stored.bytes())});
  }

  void write_codes(const HfItem& item, SafetensorsWriter& writer) const {
    // Wide elements first: each then begins where its type may.
    std::vector<LayerTensor> parts = layer_tensors(options_.layout, hf_codes(model_, item));
    std::ranges::stable_sort(parts, std::greater<>(),
                             [](const LayerTensor& p) { return dtype_bytes(p.tensor.dtype()); });
    const auto add = [&](std::string_view part, const TensorView& tensor) {
      writer.add(fmt::format("{}.{}", item.module(), part), tensor.dtype, tensor.shape,
                 {tensor.data, size_t(tensor.bytes())});
    };
    const bool is_static =
        options_.layout == HfLayout::compressed_w8a8 && model_.activations() == Activations::int8_static;
    if (const float scale = model_.input_scale(item.members[0].name); is_static && scale != 0)
      add("input_scale", {DType::f32, {1}, reinterpret_cast<const std::byte*>(&scale)});
    for (const LayerTensor& part : parts) add(part.part, part.tensor.view());
  }

  // A weight that lies as ours does, piece by piece: tables are large.
  void write_rows(const HfItem& item, SafetensorsWriter& writer) const {
    const CodedWeight weight = model_.weight(item.members[0].name);
    const WeightForm& form = item.form;
    writer.begin(item.name, form.dtype, item.shape());
    const int64_t step = std::max<int64_t>(1, kPieceElements / form.cols);
    for (int64_t r = 0; r < form.rows; r += step) {
      const Tensor rows = from_f32(dequantize(weight, r, std::min(step, form.rows - r)), form.dtype);
      writer.append({rows.data(), size_t(rows.bytes())});
    }
  }

  const CodedModel& model_;
  HfOptions options_;
  OutputFolder out_;
  int64_t total_size_ = 0;
};

}  // namespace

WeightForm hf_form(const HfOptions& options, std::string_view site, const WeightForm& form) {
  const bool has_codes = is_quantized(options.layout) && site != "embedding" &&
                         !(site == "head" && options.layout == HfLayout::awq);
  WeightForm stored = form;
  if (form.scheme && has_codes) return stored;
  if (form.scheme || !is_quantized(options.layout)) stored.dtype = options.dtype;
  stored.scheme.reset();
  return stored;
}

std::optional<std::string> hf_obstacle(const HfOptions& options, std::string_view site,
                                       const WeightForm& form) {
  const WeightForm stored = hf_form(options, site, form);
  if (!stored.scheme) return std::nullopt;
  return layout_obstacle(options.layout, *stored.scheme, form.rows, form.cols);
}

void check_hf_config(const ModelConfig& config, HfLayout layout) {
  if (is_quantized(layout) && family_of(config).hf_transposed)
    throw Error(
        fmt::format("family {} keeps its matrices transposed, which no tool loads with codes", config.family))
        .set_hint("export to f16, or to gguf");
}

int64_t export_hf(const CodedModel& model, const std::string& folder, const HfOptions& options) {
  return with_context(folder, [&] { return HfExport(model, folder, options).run(); });
}

}  // namespace edgeq
