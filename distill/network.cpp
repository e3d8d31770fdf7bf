// SPDX-License-Identifier: Apache-2.0
#include "distill/network.h"

#include "core/error.h"

namespace edgeq {

Weights weights_of(const FloatModel& model, std::span<const at::Tensor> tensors, Arithmetic arithmetic,
                   const InputRounding& inputs) {
  size_t next = 0;
  const auto take = [&](const Tensor& like) { return like.empty() ? at::Tensor() : tensors[next++]; };
  const bool bf16 = arithmetic == Arithmetic::bf16;
  const auto inputs_of = [&](const std::string& site) {
    return inputs.sites.contains(site) ? inputs.activations : Activations::f32;
  };
  const auto take_site = [&](const Site& site) {
    LinearTensors linear{
        .weight = take(site.weight), .bias = {}, .bf16 = bf16, .inputs = inputs_of(site.name)};
    linear.bias = take(site.bias);
    return linear;
  };
  Weights weights;
  weights.embedding = take_site(model.ends.embedding).weight;
  for (const NamedTensor& other : model.ends.others) {
    const at::Tensor values = take(other.tensor);
    if (other.name == "positions") weights.positions = values.view({-1, model.config.hidden});
    if (other.name == "final_norm") weights.final_norm.gain = values;
    if (other.name == "final_norm.bias") weights.final_norm.bias = values;
  }
  for (const Block& block : model.blocks) {
    LayerTensors& layer = weights.layers.emplace_back();
    for (const Site& site : block.sites) linear_of(layer, block.index, site.name) = take_site(site);
    for (const NamedTensor& other : block.others)
      vector_of(layer, block.index, other.name) = take(other.tensor);
  }
  weights.head = model.config.tied_head ? LinearTensors{.weight = weights.embedding,
                                                        .bias = {},
                                                        .bf16 = bf16,
                                                        .inputs = inputs_of(model.ends.embedding.name)}
                                        : take_site(model.ends.head);
  EDGEQ_CHECK(next == tensors.size(), "every parameter has its place");
  return weights;
}

Arithmetic runnable(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::bf16 && has_bf16_products() ? Arithmetic::bf16 : Arithmetic::f32;
}

at::Tensor rounded_for(const Parameter& parameter, const at::Tensor& values, Arithmetic arithmetic) {
  // The embedding is looked up as well as multiplied where it is tied: it stays f32 and is rounded at the
  // head.
  const bool rounded = is_matrix(parameter) && parameter.name != "embedding";
  return arithmetic == Arithmetic::bf16 && rounded ? values.to(at::kBFloat16) : values;
}

at::Tensor Network::embed(const Weights& weights, const Sequence& sequence) const {
  std::vector<at::Tensor> parts;
  for_each_document(sequence, [&](int64_t first, int64_t count) {
    parts.push_back(decoder_.embed(weights.embedding, weights.positions,
                                   std::span(sequence.tokens).subspan(size_t(first), size_t(count)), 0));
  });
  return parts.size() == 1 ? parts[0] : at::cat(parts, 0);
}

at::Tensor Network::block(const Weights& weights, int64_t l, const at::Tensor& hidden,
                          const Sequence& sequence) const {
  const LayerTensors& layer = weights.layers[size_t(l)];
  const LayerShape& shape = config().layers[size_t(l)];
  if (sequence.documents.size() == 1) return decoder_.block(layer, shape, hidden, nullptr);
  const at::Tensor input = decoder_.qkv_input(layer, hidden);
  std::vector<at::Tensor> parts;
  for_each_document(sequence, [&](int64_t first, int64_t count) {
    parts.push_back(decoder_.o_input(layer, shape, input.narrow(0, first, count), nullptr));
  });
  return decoder_.rest_of_block(layer, hidden, at::cat(parts, 0));
}

std::array<at::Tensor, 3> Network::projections(const Weights& weights, int64_t l,
                                               const at::Tensor& hidden) const {
  const LayerTensors& layer = weights.layers[size_t(l)];
  const at::Tensor input = decoder_.qkv_input(layer, hidden);
  return {linear(input, layer.q), linear(input, layer.k), linear(input, layer.v)};
}

at::Tensor Network::logits(const Weights& weights, const at::Tensor& hidden) const {
  return decoder_.logits(weights.head, decoder_.head_input(weights.final_norm, hidden));
}

Predictions predictions_of(const Sequence& sequence) {
  Predictions found;
  for (size_t t = 1; t < sequence.tokens.size(); ++t) {
    if (sequence.learned[t] == 0) continue;
    found.rows.push_back(int64_t(t) - 1);
    found.next.push_back(sequence.tokens[t]);
  }
  return found;
}

}  // namespace edgeq
