// SPDX-License-Identifier: Apache-2.0
// A tiny checkpoint on the grid of a scheme: the same codes as a packed file and, dequantized, as a float
// checkpoint, so that a packed engine can be held against a float one on equal weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/quantized_tensor.h"
#include "models/packed_model.h"
#include "tests/support/random_quantized.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {

// Rounds a matrix to the nearest codes of a min-max grid. Even codes and flat stores only.
inline QuantizedTensor round_to_grid(const Tensor& matrix, const QuantScheme& scheme) {
  QuantizedTensor q(scheme, matrix.rows(), matrix.cols());
  const int64_t group = scheme.group_size(q.cols);
  std::vector<uint8_t> codes(size_t(q.cols));
  for (int64_t r = 0; r < q.rows; ++r) {
    for (int64_t g = 0; g < q.groups(); ++g) {
      const float* w = matrix.matrix().row(r) + g * group;
      const auto [low, high] = std::minmax_element(w, w + group);
      const size_t i = size_t(r * q.groups() + g);
      const bool mid = scheme.zero == Zero::mid;
      const float reach = std::max(std::abs(*low), std::abs(*high));
      const float step =
          mid ? reach / float(scheme.mid_code() - 1) : (*high - *low) / float(scheme.max_code());
      const float scale = q.scales[i] = round_to_store(step, scheme.store);
      if (scheme.zero == Zero::integer)
        q.zeros[i] = uint8_t(std::clamp(std::lround(-*low / scale), 0L, long(scheme.max_code())));
      if (scheme.zero == Zero::offset) q.offsets[i] = round_to_store(*low, scheme.store);
      for (int64_t c = 0; c < group; ++c) {
        const long code = std::lround((w[c] - q.offset(r, g)) / scale) + q.zero(r, g);
        codes[size_t(g * group + c)] =
            uint8_t(std::clamp(code, long(scheme.min_code()), long(scheme.max_code())));
      }
    }
    q.set_codes(r, codes);
  }
  return q;
}

class QuantizedTiny final : public Checkpoint {
 public:
  // The scheme of a site by its name; nullopt keeps it f16.
  using SchemeOf = std::function<std::optional<QuantScheme>(const std::string& site)>;

  QuantizedTiny(ModelConfig config, SchemeOf scheme_of, uint64_t seed = 1)
      : source_(std::move(config), seed), scheme_of_(std::move(scheme_of)) {}

  // Writes the packed file; with static scales of its inputs where they are given.
  using ScaleOf = std::function<float(const std::string& site)>;
  void write(const std::string& path, const ScaleOf& scale_of = {}) const {
    PackedWriter writer(path);
    if (scale_of) writer.set_activations(Activations::int8_static);
    for (const SiteShape& site : all_sites(config())) {
      if (const auto q = quantized(site.name)) {
        writer.add(site.name, *q, scale_of ? scale_of(site.name) : 0);
      } else {
        writer.add(site.name, from_f32(source_.load(site.name), DType::f16));
      }
    }
    for (const VectorShape& vector : all_vectors(config())) {
      const Tensor values = source_.load(vector.name);
      writer.add_vector(vector.name, {values.f32(), size_t(values.size())});
    }
    writer.finish(config(), std::vector<std::byte>(1), "{}");
  }

  const std::string& path() const override { return source_.path(); }
  const ModelConfig& config() const override { return source_.config(); }
  Tokenizer tokenizer() const override { return source_.tokenizer(); }
  std::string hash() const override { return source_.hash(); }
  int64_t file_bytes() const override { return source_.file_bytes(); }
  std::string encoding(std::string_view) const override { return "F32"; }
  bool has(std::string_view name) const override { return source_.has(name); }
  // What the packed file means.
  Tensor load(std::string_view name) const override {
    Tensor tensor = source_.load(name);
    if (tensor.shape().size() != 2) return tensor;
    if (const auto q = quantized(std::string(name))) {
      dequantize_into(*q, tensor.matrix());
      return tensor;
    }
    return to_f32(from_f32(tensor, DType::f16).view());
  }
  Tensor load_rows(std::string_view name, int64_t first, int64_t count) const override {
    const Tensor whole = load(name);
    Tensor rows(DType::f32, {count, whole.cols()});
    std::copy_n(whole.f32() + first * whole.cols(), rows.size(), rows.f32());
    return rows;
  }

 private:
  std::optional<QuantizedTensor> quantized(const std::string& site) const {
    const std::optional<QuantScheme> scheme = scheme_of_(site);
    if (!scheme) return std::nullopt;
    const Tensor weight = source_.load(site);
    if (scheme->levels == Levels::uniform && !scheme->two_level()) return round_to_grid(weight, *scheme);
    Random random(site.size());  // any codes do: engines are compared on the same ones
    return random_quantized(*scheme, weight.rows(), weight.cols(), random);
  }

  TinyCheckpoint source_;
  SchemeOf scheme_of_;
};

}  // namespace edgeq
