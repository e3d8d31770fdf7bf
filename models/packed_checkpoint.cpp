// SPDX-License-Identifier: Apache-2.0
#include "models/packed_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "formats/panels.h"
#include "models/sites.h"

namespace edgeq {
namespace {

class PackedCheckpoint final : public Checkpoint {
 public:
  explicit PackedCheckpoint(PackedModel model) : model_(std::move(model)) {}

  const std::string& path() const override { return model_.path(); }
  const ModelConfig& config() const override { return model_.config(); }
  Tokenizer tokenizer() const override { return Tokenizer::deserialize(model_.tokenizer()); }
  int64_t file_bytes() const override { return model_.file_bytes(); }

  std::string hash() const override {
    std::call_once(hashed_, [this] {
      Hasher hasher;
      hasher.add(config_to_json(config()));
      for (const auto& [site, weight] : model_.weights()) {
        hasher.add(site).add(" ").add(encoding_of(weight)).add("\n").add(weight.panels);
        model_.release(weight);
      }
      for (const VectorShape& vector : all_vectors(config()))
        hasher.add(vector.name).add("\n").add(std::as_bytes(model_.vector(vector.name)));
      hash_ = hasher.digest();
    });
    return hash_;
  }

  bool has(std::string_view name) const override {
    return model_.find_weight(name) != nullptr || !model_.find_vector(name).empty();
  }

  std::optional<QuantScheme> scheme(std::string_view name) const override {
    const PackedWeight* weight = model_.find_weight(name);
    return weight == nullptr ? std::nullopt : weight->scheme;
  }
  std::optional<QuantizedTensor> codes(std::string_view name) const override {
    const PackedWeight* weight = model_.find_weight(name);
    if (weight == nullptr || !weight->scheme) return std::nullopt;
    return unpack_panels(*weight->scheme, weight->rows, weight->cols, weight->panels);
  }

  std::string encoding(std::string_view name) const override {
    const PackedWeight* weight = model_.find_weight(name);
    if (weight != nullptr) return encoding_of(*weight);
    model_.vector(name);  // throws when there is none
    return std::string(dtype_name(DType::f32));
  }

  Tensor load(std::string_view name) const override {
    if (const PackedWeight* weight = model_.find_weight(name)) return load_rows(name, 0, weight->rows);
    const std::span<const float> values = model_.vector(name);
    Tensor out(DType::f32, {std::ssize(values)});
    std::ranges::copy(values, out.f32());
    return out;
  }

  Tensor load_rows(std::string_view name, int64_t first, int64_t count) const override {
    const PackedWeight& weight = model_.weight(name);
    if (first < 0 || count < 0 || first > weight.rows - count)
      throw Error(fmt::format("{}: rows {} to {} of {}", name, first, first + count, weight.rows));
    if (count == 0) return Tensor(DType::f32, {0, weight.cols});
    const int64_t begin = first / kPanelRows * kPanelRows;
    const Tensor panels = decode_panels(weight, begin, first + count - begin);
    model_.release(weight);
    Tensor out(DType::f32, {count, weight.cols});
    std::copy_n(panels.matrix().row(first - begin), out.size(), out.f32());
    return out;
  }

 private:
  static std::string encoding_of(const PackedWeight& weight) {
    return weight.scheme ? scheme_text(*weight.scheme) : std::string(dtype_name(*weight.dtype));
  }

  // Rows [begin, begin + count), begin on a panel.
  static Tensor decode_panels(const PackedWeight& weight, int64_t begin, int64_t count) {
    const int64_t panel_bytes = weight.scheme
                                    ? panel_shape(*weight.scheme, weight.rows, weight.cols).bytes
                                    : float_panel_shape(*weight.dtype, weight.rows, weight.cols).bytes;
    const int64_t panels = (count + kPanelRows - 1) / kPanelRows;
    const auto bytes =
        weight.panels.subspan(size_t(begin / kPanelRows * panel_bytes), size_t(panels * panel_bytes));
    if (!weight.scheme) return to_f32(unpack_float_panels(*weight.dtype, count, weight.cols, bytes).view());
    Tensor out(DType::f32, {count, weight.cols});
    dequantize_into(unpack_panels(*weight.scheme, count, weight.cols, bytes), out.matrix());
    return out;
  }

  PackedModel model_;
  mutable std::once_flag hashed_;
  mutable std::string hash_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_packed_checkpoint(PackedModel model) {
  return std::make_unique<PackedCheckpoint>(std::move(model));
}

}  // namespace edgeq
