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
  const auto part = [index](std::string_view name) { return layer_site(index, name); };
  for (const VectorShape& shape : layer_norms(config, index)) {
    std::vector<float>& norm = shape.name == part("attn_norm")     ? layer.attn_norm
                               : shape.name == part("mlp_norm")    ? layer.mlp_norm
                               : shape.name == part("attn.q_norm") ? layer.q_norm
                                                                   : layer.k_norm;
    norm = source.vector(shape.name);
  }
  const std::vector<SiteShape> sites = layer_sites(config, index);
  Linear* const linears[] = {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down};
  EDGEQ_CHECK(sites.size() == std::size(linears),
              "a layer has seven sites, in the order of the forward pass");
  for (size_t i = 0; i < sites.size(); ++i) {
    linears[i]->weight = source.matrix(sites[i].name);
    if (sites[i].bias) linears[i]->bias = source.vector(sites[i].name + ".bias");
  }
  return layer;
}

ModelWeights load(const WeightSource& source, const ModelConfig& config) {
  ModelWeights weights;
  weights.config = config;
  weights.embedding = source.matrix("embedding");
  for (int64_t i = 0; i < std::ssize(config.layers); ++i)
    weights.layers.push_back(load_layer(source, config, i));
  weights.final_norm = source.vector("final_norm");
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
