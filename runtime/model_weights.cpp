// SPDX-License-Identifier: Apache-2.0
#include "runtime/model_weights.h"

#include "core/error.h"
#include "core/interrupt.h"
#include "models/names.h"
#include "models/sites.h"

namespace edgeq {
namespace {

// Where weights come from: the two engines differ in this alone.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual PackedMatrix matrix(const std::string& name) const = 0;
  virtual std::vector<float> vector(const std::string& name) const = 0;
};

class PackedSource final : public WeightSource {
 public:
  PackedSource(const PackedModel& file, const KernelTable& kernels) : file_(file), kernels_(kernels) {}
  PackedMatrix matrix(const std::string& name) const override { return {file_.weight(name), kernels_}; }
  std::vector<float> vector(const std::string& name) const override {
    const std::span<const float> values = file_.vector(name);
    return {values.begin(), values.end()};
  }

 private:
  const PackedModel& file_;
  const KernelTable& kernels_;
};

class CheckpointSource final : public WeightSource {
 public:
  CheckpointSource(const Checkpoint& checkpoint, const KernelTable& kernels)
      : checkpoint_(checkpoint), kernels_(kernels) {}
  PackedMatrix matrix(const std::string& name) const override {
    check_interrupt();
    return {checkpoint_.load(name), kernels_};
  }
  std::vector<float> vector(const std::string& name) const override {
    const Tensor tensor = checkpoint_.load(name);
    return {tensor.f32(), tensor.f32() + tensor.size()};
  }

 private:
  const Checkpoint& checkpoint_;
  const KernelTable& kernels_;
};

LayerWeights load_layer(const WeightSource& source, const ModelConfig& config, int64_t index) {
  LayerWeights layer;
  const auto norm = [&](std::string_view part) -> std::vector<float>& {
    if (part == "attn_norm") return layer.attn_norm.gain;
    if (part == "attn_norm.bias") return layer.attn_norm.bias;
    if (part == "attn_post_norm") return layer.attn_post_norm.gain;
    if (part == "attn_post_norm.bias") return layer.attn_post_norm.bias;
    if (part == "mlp_norm") return layer.mlp_norm.gain;
    if (part == "mlp_norm.bias") return layer.mlp_norm.bias;
    if (part == "mlp_post_norm") return layer.mlp_post_norm.gain;
    if (part == "mlp_post_norm.bias") return layer.mlp_post_norm.bias;
    if (part == "attn.q_norm") return layer.q_norm;
    EDGEQ_CHECK(part == "attn.k_norm", "every norm of a layer has its place");
    return layer.k_norm;
  };
  const auto linear = [&](std::string_view part) -> Linear& {
    if (part == "attn.q_proj") return layer.q;
    if (part == "attn.k_proj") return layer.k;
    if (part == "attn.v_proj") return layer.v;
    if (part == "attn.o_proj") return layer.o;
    if (part == "mlp.gate_proj") return layer.gate;
    if (part == "mlp.up_proj") return layer.up;
    EDGEQ_CHECK(part == "mlp.down_proj", "every site of a layer has its place");
    return layer.down;
  };
  const size_t prefix = layer_site(index, "").size();
  for (const VectorShape& shape : layer_norms(config, index))
    norm(std::string_view(shape.name).substr(prefix)) = source.vector(shape.name);
  for (const SiteShape& site : layer_sites(config, index)) {
    Linear& of = linear(std::string_view(site.name).substr(prefix));
    of.weight = source.matrix(site.name);
    if (site.bias) of.bias = source.vector(site.name + ".bias");
  }
  return layer;
}

ModelWeights load(const WeightSource& source, const ModelConfig& config) {
  ModelWeights weights;
  weights.config = config;
  weights.embedding = source.matrix("embedding");
  for (int64_t i = 0; i < std::ssize(config.layers); ++i)
    weights.layers.push_back(load_layer(source, config, i));
  weights.final_norm.gain = source.vector("final_norm");
  if (config.norm == NormKind::layer) weights.final_norm.bias = source.vector("final_norm.bias");
  if (config.learned_positions) weights.positions = source.vector("positions");
  if (!config.tied_head) weights.head = source.matrix("head");
  return weights;
}

}  // namespace

int64_t ModelWeights::bytes() const { return bytes_per_token() + (config.tied_head ? 0 : embedding.bytes()); }

int64_t ModelWeights::bytes_per_token() const {
  int64_t sum = head_matrix().bytes();
  for (const LayerWeights& layer : layers)
    for (const Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
      sum += linear->weight.bytes();
  return sum;
}

ModelWeights map_weights(std::shared_ptr<const PackedModel> file, const KernelTable& kernels) {
  ModelWeights weights = load(PackedSource(*file, kernels), file->config());
  weights.file = std::move(file);
  return weights;
}

ModelWeights repack_weights(const Checkpoint& checkpoint, const KernelTable& kernels) {
  return load(CheckpointSource(checkpoint, kernels), checkpoint.config());
}

}  // namespace edgeq
