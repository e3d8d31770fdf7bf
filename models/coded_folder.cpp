// SPDX-License-Identifier: Apache-2.0
#include "models/coded_folder.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "formats/awq.h"

namespace edgeq {
namespace {

// No format and no kernel has smaller groups: codes of a layer whose columns change groups more often
// (act-order) are only good for the numbers that they mean.
constexpr int64_t kSmallestGroup = 16;

// Every part that one of the layouts has; what belongs to activations is no part of the weight.
constexpr std::array kParts = {"qweight",      "qzeros",        "scales",       "g_idx",
                               "weight",       "weight_packed", "weight_scale", "weight_zero_point",
                               "weight_shape", "weight_g_idx"};
constexpr std::array kActivationParts = {"input_scale", "input_zero_point", "output_scale",
                                         "output_zero_point"};

class LayerCodes final : public StoredCodes {
 public:
  LayerCodes(CodedLayer layer, const LayerSettings& settings)
      : layer_(std::move(layer)), settings_(settings) {
    scheme_ = std::visit([this](const auto& s) { return scheme_by(s); }, settings_);
  }

  std::optional<QuantScheme> scheme() const override {
    const bool usable = scheme_.group == 0 || scheme_.group >= kSmallestGroup;
    return usable ? std::optional(scheme_) : std::nullopt;
  }
  QuantizedTensor read() const override {
    return std::visit([this](const auto& s) { return read_by(s); }, settings_);
  }
  std::vector<std::span<const std::byte>> parts() const override {
    std::vector<std::span<const std::byte>> parts;
    for (const char* part : kParts)
      if (const EncodedTensor* tensor = layer_.find(part))
        parts.emplace_back(tensor->data, size_t(tensor->bytes));
    return parts;
  }

 private:
  QuantScheme scheme_by(const GptqSettings& s) const { return gptq_scheme(layer_, s); }
  QuantScheme scheme_by(const AwqSettings& s) const { return awq_scheme(layer_, s.group); }
  QuantScheme scheme_by(const CompressedSettings& s) const { return compressed_scheme(layer_, s); }
  QuantizedTensor read_by(const GptqSettings& s) const { return read_gptq(layer_, s); }
  QuantizedTensor read_by(const AwqSettings& s) const { return read_awq(layer_, s.group); }
  QuantizedTensor read_by(const CompressedSettings& s) const { return read_compressed(layer_, s); }

  CodedLayer layer_;
  LayerSettings settings_;
  QuantScheme scheme_;
};

struct LayerSize {
  int64_t rows = 0, cols = 0;
};

// Far beyond any layer; below it, sizes can be multiplied.
LayerSize checked_size(const CodedLayer& layer, std::string_view part, int64_t rows, int64_t cols) {
  if (rows < 1 || cols < 1 || rows > INT32_MAX || cols > INT32_MAX)
    layer.refuse(part, fmt::format("is {}; expected a matrix", shape_text({rows, cols})));
  return {rows, cols};
}

LayerSize matrix_size(const CodedLayer& layer, std::string_view part) {
  const EncodedTensor* tensor = layer.find(part);
  if (tensor == nullptr) layer.refuse(part, "is missing");
  if (tensor->shape.size() != 2) layer.refuse(part, "is not a matrix");
  return checked_size(layer, part, tensor->shape[0], tensor->shape[1]);
}

// What the parts say of a layer's size; their readers check the rest against it.
LayerSize gptq_size(const CodedLayer& layer, int bits) {
  const LayerSize words = matrix_size(layer, "qweight");
  const EncodedTensor* index = layer.find("g_idx");
  if (index == nullptr) return {words.cols, words.rows * 32 / bits};
  if (index->shape.size() != 1) layer.refuse("g_idx", "is not a vector");
  return checked_size(layer, "g_idx", words.cols, index->shape[0]);
}

LayerSize awq_size(const CodedLayer& layer) {
  const LayerSize words = matrix_size(layer, "qweight");
  return {words.cols * 8, words.rows};
}

LayerSize compressed_size(const CodedLayer& layer, CompressedFormat format) {
  if (format == CompressedFormat::int_quantized) return matrix_size(layer, "weight");
  int64_t sizes[2] = {};
  std::memcpy(sizes, layer.get("weight_shape", Encoding::i64, {2}).data, sizeof sizes);
  return checked_size(layer, "weight_shape", sizes[0], sizes[1]);
}

LayerSize size_of(const CodedLayer& layer, const LayerSettings& settings) {
  if (const auto* gptq = std::get_if<GptqSettings>(&settings)) return gptq_size(layer, gptq->bits);
  if (const auto* compressed = std::get_if<CompressedSettings>(&settings))
    return compressed_size(layer, compressed->format);
  return awq_size(layer);
}

// The module whose codes a tensor holds; nullopt for any other tensor.
std::optional<std::string> coded_module(const EncodedTensor& tensor, const std::string& method) {
  const bool compressed = method == "compressed-tensors";
  for (const std::string_view part : {".qweight", ".weight_packed", ".weight"}) {
    if (!tensor.name.ends_with(part) || (part == ".qweight") == compressed) continue;
    if (part == ".weight" && tensor.encoding != Encoding::i8) continue;
    return tensor.name.substr(0, tensor.name.size() - part.size());
  }
  return std::nullopt;
}

class CodedFolder final : public TensorReader {
 public:
  CodedFolder(std::unique_ptr<TensorReader> folder, const QuantizationConfig& config,
              const LookedAt& looked_at)
      : folder_(std::move(folder)) {
    std::set<std::string> modules, hidden;
    for (const EncodedTensor& tensor : folder_->tensors()) {
      const auto module = coded_module(tensor, config.method());
      if (!module || !modules.insert(*module).second) continue;
      for (const char* part : kParts) hidden.insert(fmt::format("{}.{}", *module, part));
      for (const char* part : kActivationParts) hidden.insert(fmt::format("{}.{}", *module, part));
    }
    for (const EncodedTensor& tensor : folder_->tensors())
      if (!hidden.contains(tensor.name)) tensors_.push_back(tensor);
    for (const std::string& module : modules) {
      add(module, config.settings(module));
      if (looked_at) looked_at(*codes_.back());
    }
    for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
  }

  const std::string& path() const override { return folder_->path(); }
  const std::vector<EncodedTensor>& tensors() const override { return tensors_; }
  const EncodedTensor* find(std::string_view name) const override {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &tensors_[found->second];
  }

 private:
  void add(const std::string& module, const LayerSettings& settings) {
    const LayerSize size = size_of(CodedLayer(*folder_, module, 0, 0), settings);
    codes_.push_back(
        std::make_unique<LayerCodes>(CodedLayer(*folder_, module, size.rows, size.cols), settings));
    tensors_.push_back({.name = module + ".weight",
                        .encoding = Encoding::coded,
                        .shape = {size.rows, size.cols},
                        .codes = codes_.back().get()});
  }

  std::unique_ptr<TensorReader> folder_;
  std::vector<std::unique_ptr<LayerCodes>> codes_;
  std::vector<EncodedTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;  // keys look into tensors_
};

}  // namespace

std::unique_ptr<TensorReader> open_coded_folder(std::unique_ptr<TensorReader> folder,
                                                const QuantizationConfig& config, const LookedAt& looked_at) {
  return std::make_unique<CodedFolder>(std::move(folder), config, looked_at);
}

}  // namespace edgeq
