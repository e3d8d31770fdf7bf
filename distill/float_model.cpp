// SPDX-License-Identifier: Apache-2.0
#include "distill/float_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/random.h"
#include "models/names.h"
#include "models/sites.h"

namespace edgeq {
namespace {

constexpr double kDeviation = 0.02;

Tensor normal_tensor(const Shape& shape, double deviation, Random& random) {
  Tensor tensor(DType::f32, shape);
  fill_normal({tensor.f32(), size_t(tensor.size())}, deviation, random);
  return tensor;
}

Tensor constant(int64_t size, float value) {
  Tensor tensor(DType::f32, {size});
  std::fill(tensor.f32(), tensor.f32() + size, value);
  return tensor;
}

bool writes_residual(std::string_view site) {
  return site.ends_with("attn.o_proj") || site.ends_with("mlp.down_proj");
}

Site random_site(const SiteShape& shape, double deviation, Random& random) {
  return {.name = shape.name,
          .weight = normal_tensor({shape.rows, shape.cols}, deviation, random),
          .bias = shape.bias ? constant(shape.rows, 0) : Tensor()};
}

NamedTensor initial_vector(const VectorShape& shape, Random& random) {
  if (shape.cols != 0) return {shape.name, normal_tensor({shape.size}, kDeviation, random)};
  return {shape.name, constant(shape.size, shape.name.ends_with(".bias") ? 0.0F : 1.0F)};
}

}  // namespace

FloatModel load_float_model(const Checkpoint& checkpoint) {
  FloatModel model{.config = checkpoint.config(), .ends = load_ends(checkpoint), .blocks = {}};
  for (int b = 0; b < std::ssize(model.config.layers); ++b) model.blocks.push_back(load_block(checkpoint, b));
  return model;
}

std::vector<Parameter> parameters_of(FloatModel& model) {
  std::vector<Parameter> all;
  const auto add = [&](const std::string& name, Tensor& values) {
    if (!values.empty()) all.push_back({name, &values});
  };
  const auto add_site = [&](Site& site) {
    add(site.name, site.weight);
    add(site.name + ".bias", site.bias);
  };
  add_site(model.ends.embedding);
  for (NamedTensor& other : model.ends.others) add(other.name, other.tensor);
  for (Block& block : model.blocks) {
    for (Site& site : block.sites) add_site(site);
    for (NamedTensor& other : block.others) add(other.name, other.tensor);
  }
  if (!model.config.tied_head) add_site(model.ends.head);
  return all;
}

bool is_matrix(const Parameter& parameter) { return parameter.values->shape().size() == 2; }

FloatModel random_model(const ModelConfig& config, uint64_t seed) {
  validate(config);
  Random random(seed);
  const double into_residual = kDeviation / std::sqrt(2.0 * double(config.layers.size()));
  FloatModel model{.config = config, .ends = {}, .blocks = {}};
  for (const VectorShape& shape : end_vectors(config))
    model.ends.others.push_back(initial_vector(shape, random));
  for (const SiteShape& shape : all_sites(config)) {
    if (shape.name == "embedding") model.ends.embedding = random_site(shape, kDeviation, random);
    if (shape.name == "head") model.ends.head = random_site(shape, kDeviation, random);
  }
  for (int64_t l = 0; l < std::ssize(config.layers); ++l) {
    Block block;
    block.index = int(l);
    for (const SiteShape& shape : layer_sites(config, l))
      block.sites.push_back(
          random_site(shape, writes_residual(shape.name) ? into_residual : kDeviation, random));
    for (const VectorShape& shape : layer_norms(config, l))
      block.others.push_back(initial_vector(shape, random));
    model.blocks.push_back(std::move(block));
  }
  return model;
}

FloatModel thinned_model(const Checkpoint& teacher, int64_t layers) {
  const std::vector<LayerShape>& shapes = teacher.config().layers;
  const auto had = std::ssize(shapes);
  if (layers < 1 || layers > had)
    throw Error(fmt::format("a student of {} layers is to have the teacher's, which has {}", layers, had));
  FloatModel model{.config = teacher.config(), .ends = load_ends(teacher), .blocks = {}};
  model.config.layers.clear();
  for (int64_t l = 0; l < layers; ++l) {
    const int64_t from = layers == 1 ? 0 : std::llround(double(l) * double(had - 1) / double(layers - 1));
    model.config.layers.push_back(shapes[size_t(from)]);
    Block block = load_block(teacher, int(from));
    block.index = int(l);
    for (Site& site : block.sites) site.name = layer_site(l, part_in_layer(site.name));
    for (NamedTensor& other : block.others) other.name = layer_site(l, part_in_layer(other.name));
    model.blocks.push_back(std::move(block));
  }
  return model;
}

}  // namespace edgeq
