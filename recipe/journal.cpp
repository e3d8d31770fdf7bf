// SPDX-License-Identifier: Apache-2.0
#include "recipe/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "formats/output_file.h"
#include "formats/safetensors.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr DType dtype_of(float) { return DType::f32; }
constexpr DType dtype_of(uint8_t) { return DType::u8; }
constexpr DType dtype_of(int8_t) { return DType::i8; }

template <class T>
void add(SafetensorsWriter& writer, const std::string& name, const std::vector<T>& values) {
  if (values.empty()) return;
  writer.add(name, dtype_of(T{}), {int64_t(values.size())}, std::as_bytes(std::span(values)));
}

void add(SafetensorsWriter& writer, const std::string& name, const Tensor& tensor) {
  if (tensor.empty()) return;
  writer.add(name, tensor.dtype(), tensor.shape(), {tensor.data(), size_t(tensor.bytes())});
}

// Fills `values`, whose size is what the file has to hold.
template <class T>
void load_values(const SafetensorsFile& file, const std::string& name, std::vector<T>& values) {
  if (values.empty()) return;
  const EncodedTensor* tensor = file.find(name);
  const auto bytes = int64_t(values.size() * sizeof(T));
  if (tensor == nullptr || tensor->encoding != encoding_of(dtype_of(T{})) || tensor->bytes != bytes)
    throw Error(fmt::format("{}: {} is missing or has the wrong size", file.path(), name));
  std::memcpy(values.data(), tensor->data, size_t(bytes));
}

Tensor load_tensor(const SafetensorsFile& file, const std::string& name) {
  const EncodedTensor* found = file.find(name);
  if (found == nullptr) return {};
  Tensor tensor(plain_dtype(found->encoding), found->shape);
  std::memcpy(tensor.data(), found->data, size_t(found->bytes));
  return tensor;
}

json report_to_json(const SiteReport& r) {
  return {{"scheme", r.scheme},
          {"method", r.method},
          {"rows", r.rows},
          {"cols", r.cols},
          {"bytes", r.bytes},
          {"relative_error", r.relative_error},
          {"tokens", r.tokens},
          {"damping", r.damping},
          {"calibrated", r.calibrated},
          {"correction", r.correction},
          {"raises", r.damping_raises},
          {"dead", r.dead_columns},
          {"last_quarter_change", r.last_quarter_change}};
}

SiteReport report_from_json(const std::string& name, const json& j) {
  return {.name = name,
          .scheme = j.at("scheme"),
          .method = j.at("method"),
          .rows = j.at("rows"),
          .cols = j.at("cols"),
          .bytes = j.at("bytes"),
          .relative_error = j.at("relative_error"),
          .calibrated = j.at("calibrated"),
          .correction = j.at("correction"),
          .tokens = j.at("tokens"),
          .damping = j.at("damping"),
          .damping_raises = j.at("raises"),
          .dead_columns = j.at("dead"),
          .last_quarter_change = j.at("last_quarter_change")};
}

SiteResult load_site(const SafetensorsFile& file, const json& entry) {
  SiteResult site{.name = entry.at("name"), .input_scale = entry.at("input_scale")};
  site.report = report_from_json(site.name, entry.at("report"));
  if (entry.at("quantized")) {
    QuantizedTensor q(parse_scheme(site.report.scheme), site.report.rows, site.report.cols);
    for_each_array([&](const char* name, auto array) {
      load_values(file, fmt::format("{}.{}", site.name, name), q.*array);
    });
    site.quantized = std::move(q);
  } else {
    site.kept = load_tensor(file, site.name);
  }
  site.bias = load_tensor(file, site.name + ".bias");
  return site;
}

std::string read_text(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace

std::string layer_part(int64_t layer) { return fmt::format("layers.{}", layer); }

std::string part_of_site(std::string_view site) {
  if (site.starts_with("layers.")) return std::string(site.substr(0, site.find('.', 7)));
  return std::string(site);  // the embedding and the head are parts of their own
}

std::vector<std::string> part_names(const ModelConfig& config) {
  std::vector<std::string> names{"embedding"};
  for (int64_t layer = 0; layer < std::ssize(config.layers); ++layer) names.push_back(layer_part(layer));
  if (!config.tied_head) names.emplace_back("head");
  return names;
}

const SiteResult& PartResult::site(std::string_view name) const {
  const auto found =
      std::find_if(sites.begin(), sites.end(), [&](const SiteResult& s) { return s.name == name; });
  if (found == sites.end()) throw Error(fmt::format("the journal's part {} does not hold {}", part, name));
  return *found;
}

const Tensor& PartResult::vector(std::string_view name) const {
  const Tensor* found = find_vector(name);
  if (found == nullptr) throw Error(fmt::format("the journal's part {} does not hold {}", part, name));
  return *found;
}

const Tensor* PartResult::find_vector(std::string_view name) const {
  const auto found = std::ranges::find(vectors, name, &NamedTensor::name);
  return found == vectors.end() ? nullptr : &found->tensor;
}

Journal::Journal(std::string folder, const std::string& key) : folder_(std::move(folder)) {
  const fs::path key_path = fs::path(folder_) / "key";
  std::error_code error;
  if (fs::exists(key_path, error)) {
    if (read_text(key_path) == key) return;
    throw Error(fmt::format("{}: holds parts of another run (other model, text, recipe or version)", folder_))
        .set_hint(fmt::format("remove {} to start over", folder_));
  }
  fs::create_directories(folder_, error);
  if (error) throw Error(fmt::format("{}: cannot be created: {}", folder_, error.message()));
  write_file(key_path.string(), key);
}

std::string Journal::path_of(const std::string& part) const {
  return fmt::format("{}/{}.safetensors", folder_, part);
}

bool Journal::has(const std::string& part) const {
  std::error_code ignored;
  return fs::exists(path_of(part), ignored);
}

void Journal::commit(const PartResult& result) {
  SafetensorsWriter writer(path_of(result.part), OutputFile::Existing::replace);
  json sites = json::array();
  for (const SiteResult& site : result.sites) {
    if (site.quantized) {
      for_each_array([&](const char* name, auto array) {
        add(writer, fmt::format("{}.{}", site.name, name), (*site.quantized).*array);
      });
    } else {
      add(writer, site.name, site.kept);
    }
    add(writer, site.name + ".bias", site.bias);
    sites.push_back({{"name", site.name},
                     {"quantized", site.quantized.has_value()},
                     {"input_scale", site.input_scale},
                     {"report", report_to_json(site.report)}});
  }
  json vectors = json::array();
  for (const NamedTensor& vector : result.vectors) {
    add(writer, vector.name, vector.tensor);
    vectors.push_back(vector.name);
  }
  writer.finish({{"sites", sites.dump()}, {"vectors", vectors.dump()}});
}

PartResult Journal::load(const std::string& part) const {
  const std::string path = path_of(part);
  const SafetensorsFile file(path);
  try {
    PartResult result{.part = part};
    for (const json& entry : json::parse(file.metadata().at("sites")))
      result.sites.push_back(load_site(file, entry));
    for (const json& name : json::parse(file.metadata().at("vectors")))
      result.vectors.push_back({name, load_tensor(file, name)});
    return result;
  } catch (const std::exception& e) {
    throw Error(fmt::format("{}: damaged: {}", path, e.what()))
        .set_hint(fmt::format("remove {} to make this part again", path));
  }
}

void Journal::remove() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

}  // namespace edgeq
