// SPDX-License-Identifier: Apache-2.0
#include "models/packed_model.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/error.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "formats/gguf.h"
#include "formats/panels.h"
#include "formats/safetensors.h"
#include "models/sites.h"

namespace edgeq {
namespace {

using nlohmann::json;

constexpr std::string_view kVersion = "1", kTokenizer = "tokenizer", kPad = "pad.";

using Metadata = std::map<std::string, std::string>;

std::string metadata_checksum(const Metadata& metadata) {
  Hasher hasher;
  for (const auto& [key, text] : metadata)
    if (key != "checksum") hasher.add(key).add("\n").add(text).add("\n");
  return hasher.digest();
}

bool is_panel_dtype(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

PanelShape shape_of(const PackedWeight& weight) {
  return weight.scheme ? panel_shape(*weight.scheme, weight.rows, weight.cols)
                       : float_panel_shape(*weight.dtype, weight.rows, weight.cols);
}

// Throws Error unless the weights and vectors are exactly what the config calls for.
template <class Weights, class Vectors>
void check_complete(const ModelConfig& config, const Weights& weights, const Vectors& vectors) {
  size_t sites = 0, vector_count = 0;
  for (const SiteShape& site : all_sites(config)) {
    const auto found = weights.find(site.name);
    if (found == weights.end()) throw Error(fmt::format("weight {} is missing", site.name));
    const auto& weight = found->second;
    if (weight.rows != site.rows || weight.cols != site.cols)
      throw Error(fmt::format("weight {} is [{}, {}]; the config calls for [{}, {}]", site.name, weight.rows,
                              weight.cols, site.rows, site.cols));
    ++sites;
  }
  for (const VectorShape& vector : all_vectors(config)) {
    const auto found = vectors.find(vector.name);
    if (found == vectors.end()) throw Error(fmt::format("vector {} is missing", vector.name));
    if (int64_t(found->second.size()) != vector.size)
      throw Error(fmt::format("vector {} has {} values; the config calls for {}", vector.name,
                              found->second.size(), vector.size));
    ++vector_count;
  }
  if (sites == weights.size() && vector_count == vectors.size()) return;
  throw Error(fmt::format("there are {} weights and {} vectors; the config calls for {} and {}",
                          weights.size(), vectors.size(), sites, vector_count));
}

}  // namespace

bool is_packed_file(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && !path.ends_with(".gguf") && !is_gguf(path);
}

// Turns a mapped safetensors file into a PackedModel; every claim of the header is checked against the rest.
class PackedModel::Reader {
 public:
  Reader(std::shared_ptr<const MappedFile> mapped, const OpenOptions& options)
      : file_(std::move(mapped)), options_(options) {}

  PackedModel read() {
    check_version();
    model_.path_ = file_.path();
    model_.file_ = file_.file();
    model_.config_ = with_context("config", [&] { return config_from_json(text("config")); });
    model_.kv_ = kv();
    model_.activations_ = activations();
    model_.provenance_ = text("provenance");
    try {
      read_tensors(json::parse(text("weights")), json::parse(text("hashes")));
    } catch (const json::exception& error) {
      throw Error(fmt::format("header is damaged: {}", error.what()));
    }
    if (model_.tokenizer_.empty()) throw Error("tensor tokenizer is missing");
    check_complete(model_.config_, model_.weights_, model_.vectors_);
    return std::move(model_);
  }

 private:
  const std::string& text(const char* key) const {
    const auto found = file_.metadata().find(key);
    if (found == file_.metadata().end()) throw Error(fmt::format("metadata \"{}\" is missing", key));
    return found->second;
  }

  KvScheme kv() const {
    const auto found = file_.metadata().find("kv");
    return found == file_.metadata().end() ? KvScheme{} : parse_kv_scheme(found->second);
  }

  Activations activations() const {
    const auto found = file_.metadata().find("activations");
    return found == file_.metadata().end() ? Activations::int8_block : parse_activations(found->second);
  }

  void check_version() const {
    if (!file_.metadata().contains("edgeq"))
      throw Error("not a packed model: a safetensors file without edgeq's metadata")
          .set_hint("a Hugging Face checkpoint is given as its folder");
    if (text("edgeq") != kVersion)
      throw Error(
          fmt::format("packed format version \"{}\"; this build reads version {}", text("edgeq"), kVersion));
    if (text("layout") != kPanelLayout)
      throw Error(fmt::format("panel layout \"{}\"; this build reads {}", text("layout"), kPanelLayout));
    const std::string& expected = text("checksum");
    if (options_.verify_checksums && metadata_checksum(file_.metadata()) != expected)
      throw Error("the header's checksum does not match: the file is damaged");
  }

  void read_tensors(const json& weights, const json& hashes) {
    if (!weights.is_object() || !hashes.is_object())
      throw Error("\"weights\" or \"hashes\" is not an object");
    for (const EncodedTensor& tensor : file_.tensors()) {
      if (tensor.name.starts_with(kPad)) continue;
      check_interrupt();
      with_context(tensor.name, [&] {
        check_bytes(tensor, hashes);
        const std::span bytes(tensor.data, size_t(tensor.bytes));
        if (tensor.name == kTokenizer) {
          model_.tokenizer_ = bytes;
        } else if (tensor.encoding == Encoding::f32) {
          add_vector(tensor);
        } else {
          add_weight(tensor.name, weights.at(tensor.name), bytes);
        }
      });
    }
    if (weights.size() != model_.weights_.size())
      throw Error(fmt::format("the header lists {} weights, the file holds {}", weights.size(),
                              model_.weights_.size()));
  }

  void check_bytes(const EncodedTensor& tensor, const json& hashes) const {
    const int64_t offset = tensor.data - file_.file()->bytes().data();
    if (offset % 64 != 0) throw Error(fmt::format("begins at byte {}; expected a multiple of 64", offset));
    const auto expected = hashes.at(tensor.name).get<std::string>();
    if (!options_.verify_checksums) return;
    const std::span bytes(tensor.data, size_t(tensor.bytes));
    if (content_hash(bytes) != expected) throw Error("checksum does not match: the file is damaged");
    if (options_.release_pages) file_.file()->dont_need(bytes);
  }

  void add_vector(const EncodedTensor& tensor) {
    if (tensor.shape.size() != 1)
      throw Error(fmt::format("shape {}; expected a vector", shape_text(tensor.shape)));
    model_.vectors_[tensor.name] = {reinterpret_cast<const float*>(tensor.data), size_t(tensor.shape[0])};
  }

  void add_weight(const std::string& name, const json& entry, std::span<const std::byte> bytes) {
    PackedWeight weight;
    weight.rows = entry.at("rows").get<int64_t>();
    weight.cols = entry.at("cols").get<int64_t>();
    weight.panels = bytes;
    // Bounds that the config's own limits imply; beyond them, sizes could overflow.
    constexpr int64_t kMaxDimension = int64_t(1) << 30;
    if (weight.rows < 1 || weight.rows > kMaxDimension || weight.cols < 1 || weight.cols > kMaxDimension)
      throw Error(fmt::format("is [{}, {}]", weight.rows, weight.cols));
    if (entry.contains("scheme") == entry.contains("dtype")) throw Error("needs either a scheme or a dtype");
    if (entry.contains("scheme")) {
      weight.scheme = parse_scheme(entry.at("scheme").get<std::string>());
      if (entry.contains("input_scale")) {
        weight.input_scale = entry.at("input_scale").get<float>();
        if (!(weight.input_scale > 0 && std::isfinite(weight.input_scale)))
          throw Error(fmt::format("input scale {}; expected a positive number", weight.input_scale));
      }
    } else {
      const auto dtype_text = entry.at("dtype").get<std::string>();
      weight.dtype = parse_dtype(dtype_text);
      if (!weight.dtype || !is_panel_dtype(*weight.dtype))
        throw Error(fmt::format("dtype \"{}\"; expected F32, F16 or BF16", dtype_text));
    }
    const PanelShape shape = shape_of(weight);
    if (int64_t(bytes.size()) != shape.panels * shape.bytes)
      throw Error(fmt::format("has {} bytes; {} [{}, {}] takes {}", bytes.size(),
                              weight.scheme ? scheme_text(*weight.scheme) : dtype_name(*weight.dtype),
                              weight.rows, weight.cols, shape.panels * shape.bytes));
    model_.weights_.emplace(name, weight);
  }

  SafetensorsFile file_;
  OpenOptions options_;
  PackedModel model_;
};

PackedModel PackedModel::open(const std::string& path, const OpenOptions& options) {
  return open(MappedFile::open(path), options);
}

PackedModel PackedModel::open(std::shared_ptr<const MappedFile> file, const OpenOptions& options) {
  const std::string path = file->path();
  Reader reader(std::move(file), options);  // errors of the container name the file themselves
  return with_context(path, [&] { return reader.read(); });
}

const PackedWeight* PackedModel::find_weight(std::string_view site) const {
  const auto found = weights_.find(std::string(site));
  return found == weights_.end() ? nullptr : &found->second;
}

const PackedWeight& PackedModel::weight(std::string_view site) const {
  const PackedWeight* found = find_weight(site);
  if (found == nullptr) throw Error(fmt::format("{}: there is no weight {}", path_, site));
  return *found;
}

std::span<const float> PackedModel::find_vector(std::string_view name) const {
  const auto found = vectors_.find(std::string(name));
  return found == vectors_.end() ? std::span<const float>() : found->second;
}

std::span<const float> PackedModel::vector(std::string_view name) const {
  const auto found = find_vector(name);
  if (found.empty()) throw Error(fmt::format("{}: there is no vector {}", path_, name));
  return found;
}

int64_t PackedModel::file_bytes() const { return file_->size(); }

int64_t PackedModel::weight_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, weight] : weights_) bytes += int64_t(weight.panels.size());
  return bytes;
}

double PackedModel::bits_per_weight() const {
  return 8 * double(weight_bytes()) / double(config_.weight_count());
}

struct PackedWriter::Impl {
  struct Size {
    int64_t rows, cols;
  };
  struct Count {
    size_t values;
    size_t size() const { return values; }
  };

  void add(const std::string& name, DType dtype, const Shape& shape, std::span<const std::byte> bytes) {
    file.add(name, dtype, shape, bytes);
    hashes[name] = content_hash(bytes);
  }
  // `pack` fills the panels.
  template <class Pack>
  void add_panels(const std::string& site, json entry, Size size, const PanelShape& shape, Pack&& pack) {
    std::vector<std::byte> panels(size_t(shape.panels * shape.bytes));
    pack(std::span(panels));
    entry["rows"] = size.rows;
    entry["cols"] = size.cols;
    entries[site] = std::move(entry);
    sizes[site] = size;
    add(site, DType::u8, {shape.panels, shape.bytes}, panels);
  }

  SafetensorsWriter file;
  json entries = json::object(), hashes = json::object();
  std::map<std::string, Size> sizes;
  std::map<std::string, Count> vectors;
  KvScheme kv;
  Activations activations = Activations::int8_block;
};

PackedWriter::PackedWriter(std::string path, OutputFile::Existing existing)
    : impl_(new Impl{
          .file = SafetensorsWriter(std::move(path), existing), .sizes = {}, .vectors = {}, .kv = {}}) {}
PackedWriter::~PackedWriter() = default;

void PackedWriter::add(const std::string& site, const QuantizedTensor& weight, float input_scale) {
  json entry = {{"scheme", scheme_text(weight.scheme)}};
  if (input_scale != 0) entry["input_scale"] = input_scale;
  impl_->add_panels(site, std::move(entry), {weight.rows, weight.cols},
                    panel_shape(weight.scheme, weight.rows, weight.cols),
                    [&](std::span<std::byte> panels) { pack_panels(weight, panels); });
}

void PackedWriter::add(const std::string& site, const Tensor& matrix) {
  EDGEQ_CHECK(is_panel_dtype(matrix.dtype()), "float panels are F32, F16 or BF16");
  impl_->add_panels(site, {{"dtype", dtype_name(matrix.dtype())}}, {matrix.rows(), matrix.cols()},
                    float_panel_shape(matrix.dtype(), matrix.rows(), matrix.cols()),
                    [&](std::span<std::byte> panels) { pack_float_panels(matrix.view(), panels); });
}

void PackedWriter::add_vector(const std::string& name, std::span<const float> values) {
  impl_->add(name, DType::f32, {int64_t(values.size())}, std::as_bytes(values));
  impl_->vectors[name] = {values.size()};
}

void PackedWriter::set_kv(const KvScheme& kv) { impl_->kv = kv; }

void PackedWriter::set_activations(Activations activations) { impl_->activations = activations; }

int64_t PackedWriter::finish(const ModelConfig& config, std::span<const std::byte> tokenizer,
                             const std::string& provenance_json) {
  with_context(impl_->file.path(), [&] { check_complete(config, impl_->sizes, impl_->vectors); });
  EDGEQ_CHECK(!tokenizer.empty(), "a packed model carries its tokenizer");
  impl_->add(std::string(kTokenizer), DType::u8, {int64_t(tokenizer.size())}, tokenizer);
  Metadata metadata = {{"edgeq", std::string(kVersion)},   {"layout", std::string(kPanelLayout)},
                       {"config", config_to_json(config)}, {"weights", impl_->entries.dump()},
                       {"hashes", impl_->hashes.dump()},   {"provenance", provenance_json}};
  if (impl_->kv != KvScheme{}) metadata["kv"] = kv_scheme_text(impl_->kv);
  if (impl_->activations != Activations::int8_block)
    metadata["activations"] = activations_text(impl_->activations);
  metadata["checksum"] = metadata_checksum(metadata);
  return impl_->file.finish(metadata);
}

}  // namespace edgeq
