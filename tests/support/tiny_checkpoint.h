// SPDX-License-Identifier: Apache-2.0
// A float checkpoint made up in memory: any config, weights drawn from a seed. The same seed gives the same
// weights on every machine, and a tensor's values depend on its name alone, not on what else there is.
#pragma once

#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/half.h"
#include "core/hash.h"
#include "core/random.h"
#include "models/import.h"
#include "models/sites.h"

namespace edgeq {

// Two layers, 4 query heads on 2 KV heads, and widths that no block of 32 columns divides.
inline ModelConfig tiny_config() {
  ModelConfig config;
  config.family = "llama";
  config.hidden = 48;
  config.vocab = 83;
  config.context = 640;
  config.layers.assign(2, {.heads = 4, .kv_heads = 2, .head_dim = 12, .ffn = 70, .window = 0});
  config.tied_head = true;
  return config;
}

class TinyCheckpoint final : public Checkpoint {
 public:
  enum class Values { f32, bf16 };  // bf16: rounded, as published checkpoints are

  explicit TinyCheckpoint(ModelConfig config, uint64_t seed = 1, Values values = Values::f32)
      : config_(std::move(config)), seed_(seed), values_(values) {}

  const std::string& path() const override { return path_; }
  const ModelConfig& config() const override { return config_; }
  Tokenizer tokenizer() const override { throw Error("a tiny checkpoint has no tokenizer"); }
  std::string hash() const override { return content_hash(config_to_json(config_) + std::to_string(seed_)); }
  int64_t file_bytes() const override { return 4 * config_.weight_count(); }
  std::string encoding(std::string_view) const override { return values_ == Values::bf16 ? "BF16" : "F32"; }

  bool has(std::string_view name) const override { return !shape_of(name).empty(); }
  Tensor load(std::string_view name) const override {
    const Shape shape = shape_of(name);
    if (shape.empty()) throw Error("no tensor " + std::string(name));
    return draw(name, shape);
  }
  Tensor load_rows(std::string_view name, int64_t first, int64_t count) const override {
    const Tensor whole = load(name);
    Tensor rows(DType::f32, {count, whole.cols()});
    std::copy_n(whole.f32() + first * whole.cols(), rows.size(), rows.f32());
    return rows;
  }

 private:
  Shape shape_of(std::string_view name) const {
    for (const SiteShape& site : all_sites(config_))
      if (site.name == name) return {site.rows, site.cols};
    for (const VectorShape& vector : all_vectors(config_))
      if (vector.name == name) return {vector.size};
    return {};
  }

  // Norm gains near 1, biases of 0.3, weights that keep activations near 1 but attention far from uniform.
  Tensor draw(std::string_view name, const Shape& shape) const {
    Random random(seed_);
    for (const char c : name) random = Random(random.next() ^ uint64_t(uint8_t(c)));
    const bool norm = name.find("norm") != std::string_view::npos, matrix = shape.size() == 2;
    const bool table = name == "embedding" || name == "head";
    const double scale = !matrix ? 0.3 : table ? 1.0 : 1.5 / std::sqrt(double(shape[1]));
    Tensor tensor(DType::f32, shape);
    for (int64_t i = 0; i < tensor.size(); ++i) {
      const float value = float((norm ? 1 : 0) + scale * random.normal());
      tensor.f32()[i] = values_ == Values::bf16 ? bf16_to_f32(f32_to_bf16(value)) : value;
    }
    return tensor;
  }

  ModelConfig config_;
  uint64_t seed_;
  Values values_;
  std::string path_ = "tiny";
};

}  // namespace edgeq
