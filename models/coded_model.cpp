// SPDX-License-Identifier: Apache-2.0
#include "models/coded_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/version.h"
#include "formats/panels.h"
#include "models/sites.h"

namespace edgeq {
namespace {

class CodedPacked final : public CodedModel {
 public:
  explicit CodedPacked(PackedModel model) : model_(std::move(model)) {}

  const std::string& path() const override { return model_.path(); }
  const ModelConfig& config() const override { return model_.config(); }
  Tokenizer tokenizer() const override { return Tokenizer::deserialize(model_.tokenizer()); }
  KvScheme kv() const override { return model_.kv(); }
  Activations activations() const override { return model_.activations(); }
  float input_scale(std::string_view site) const override { return model_.weight(site).input_scale; }
  std::string provenance_json() const override { return model_.provenance_json(); }

  WeightForm form(std::string_view site) const override {
    const PackedWeight& weight = model_.weight(site);
    return {weight.scheme, weight.dtype.value_or(DType::f32), weight.rows, weight.cols};
  }
  CodedWeight weight(std::string_view site) const override {
    const PackedWeight& packed = model_.weight(site);
    CodedWeight weight;
    if (packed.scheme) {
      weight.codes = unpack_panels(*packed.scheme, packed.rows, packed.cols, packed.panels);
    } else {
      weight.kept = unpack_float_panels(*packed.dtype, packed.rows, packed.cols, packed.panels);
    }
    model_.release(packed);
    return weight;
  }
  Tensor vector(std::string_view name) const override {
    const std::span<const float> values = model_.vector(name);
    Tensor vector(DType::f32, {std::ssize(values)});
    std::ranges::copy(values, vector.f32());
    return vector;
  }

 private:
  PackedModel model_;
};

class CodedCheckpoint final : public CodedModel {
 public:
  explicit CodedCheckpoint(std::shared_ptr<const Checkpoint> checkpoint)
      : checkpoint_(std::move(checkpoint)) {
    for (SiteShape& site : all_sites(config())) sites_.emplace(site.name, std::move(site));
  }

  const std::string& path() const override { return checkpoint_->path(); }
  const ModelConfig& config() const override { return checkpoint_->config(); }
  Tokenizer tokenizer() const override { return checkpoint_->tokenizer(); }
  std::string provenance_json() const override {
    const auto name = std::filesystem::path(path()).lexically_normal().filename().string();
    return nlohmann::ordered_json{{"tool", fmt::format("edgeq {}", version())},
                                  {"converted_from", {{"name", name}, {"hash", checkpoint_->hash()}}}}
        .dump();
  }

  WeightForm form(std::string_view site) const override {
    const auto found = sites_.find(site);
    if (found == sites_.end()) throw Error(fmt::format("{}: there is no weight {}", path(), site));
    return {checkpoint_->scheme(site), kept_dtype(site), found->second.rows, found->second.cols};
  }
  CodedWeight weight(std::string_view site) const override {
    if (auto codes = checkpoint_->codes(site)) return {.codes = std::move(codes), .kept = {}};
    const WeightForm form = this->form(site);
    const auto rows = [&](int64_t first, int64_t count) {
      return checkpoint_->load_rows(site, first, count);
    };
    return {.codes = {}, .kept = cast_rows(form.rows, form.cols, form.dtype, rows)};
  }
  Tensor vector(std::string_view name) const override { return checkpoint_->load(name); }

 private:
  DType kept_dtype(std::string_view site) const {
    const auto dtype = parse_dtype(checkpoint_->encoding(site));
    return dtype && dtype_bytes(*dtype) == 2 && is_floating(*dtype) ? *dtype : DType::f32;
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::map<std::string, SiteShape, std::less<>> sites_;
};

}  // namespace

std::string form_text(const WeightForm& form) {
  return form.scheme ? scheme_text(*form.scheme) : std::string(dtype_name(form.dtype));
}

Tensor dequantize(const CodedWeight& weight, int64_t first, int64_t count) {
  EDGEQ_CHECK(first >= 0 && count >= 0 && count <= weight.rows() - first, "rows of the weight are asked for");
  const int64_t cols = weight.cols();
  if (!weight.codes) {
    const int64_t row_bytes = cols * dtype_bytes(weight.kept.dtype());
    return to_f32({weight.kept.dtype(), {count, cols}, weight.kept.data() + first * row_bytes});
  }
  Tensor rows(DType::f32, {count, cols});
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  for (int64_t r = 0; r < count; ++r) dequantize_row(*weight.codes, first + r, codes, rows.matrix().row(r));
  return rows;
}

Tensor cast_rows(int64_t rows, int64_t cols, DType dtype, const FloatRows& rows_of) {
  constexpr int64_t kRows = 256;
  Tensor matrix(dtype, {rows, cols});
  for (int64_t r = 0; r < rows; r += kRows) {
    const Tensor piece = from_f32(rows_of(r, std::min(kRows, rows - r)), dtype);
    std::memcpy(matrix.data() + r * cols * dtype_bytes(dtype), piece.data(), size_t(piece.bytes()));
  }
  return matrix;
}

std::unique_ptr<CodedModel> coded_model(PackedModel packed) {
  return std::make_unique<CodedPacked>(std::move(packed));
}

std::unique_ptr<CodedModel> coded_model(std::shared_ptr<const Checkpoint> checkpoint) {
  return std::make_unique<CodedCheckpoint>(std::move(checkpoint));
}

}  // namespace edgeq
