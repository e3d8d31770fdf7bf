// SPDX-License-Identifier: Apache-2.0
#include "models/gradients.h"

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <memory>
#include <utility>

#include "core/error.h"
#include "models/torch/decoder.h"
#include "models/torch/threads.h"
#include "models/torch/torch_model.h"

namespace edgeq {
namespace {

at::Tensor leaf(const Tensor& values) { return view_of(values).set_requires_grad(true); }

// A bias of its own for each token: what arrives there is the gradient at the site's outputs.
at::Tensor probe(const Site& site, int64_t tokens) {
  at::Tensor bias = at::zeros({tokens, site.weight.rows()}, at::kFloat);
  if (!site.bias.empty()) bias.add_(view_of(site.bias));
  return bias.set_requires_grad(true);
}

// Zeros where the loss does not depend on the leaf.
Tensor gradient_of(const at::Tensor& leaf) {
  return leaf.grad().defined() ? tensor_of(leaf.grad()) : Tensor(DType::f32, leaf.sizes().vec());
}

LayerTensors weights_of(const Block& block, Products products) {
  static const bool fast = has_bf16_products();
  LayerTensors layer = edgeq::weights_of(block);
  for (const Site& site : block.sites)
    linear_of(layer, block.index, site.name).bf16 = products == Products::bf16 && fast;
  return layer;
}

class TorchBackward final : public BackwardModel {
 public:
  explicit TorchBackward(const ModelConfig& config) : decoder_(config) {}

  Tensor logits(const Ends& ends, const Tensor& hidden) const override {
    const c10::InferenceMode guard;
    return tensor_of(decoder_.logits(ends, decoder_.head_input(ends, view_of(hidden))));
  }

  HeadGradients through_head(const Ends& ends, const Tensor& hidden,
                             const LossGradient& loss) const override {
    const c10::AutoGradMode recording(true);
    const at::Tensor entering = leaf(hidden), outputs = probe(ends.head_site(), hidden.rows());
    const NormTensors norm = final_norm_of(ends);
    for (const at::Tensor& vector : {norm.gain, norm.bias})
      if (vector.defined()) vector.requires_grad_(true);
    const LinearTensors head{.weight = view_of(ends.head_site().weight), .bias = outputs};
    const at::Tensor logits = decoder_.logits(head, decoder_.head_input(norm, entering));
    Tensor gradient = tensor_of(logits.detach());
    loss(gradient.matrix());
    logits.backward(view_of(gradient));
    HeadGradients result{.hidden = gradient_of(entering), .site = gradient_of(outputs), .others = {}};
    for (const NamedTensor& vector : ends.others) {
      const bool gain = vector.name == "final_norm", bias = vector.name == "final_norm.bias";
      result.others.push_back(gain ? gradient_of(norm.gain) : bias ? gradient_of(norm.bias) : Tensor());
    }
    return result;
  }

  Tensor leaving(const Block& block, const Tensor& hidden, Products products) const override {
    const c10::InferenceMode guard;
    const LayerShape& shape = decoder_.config().layers[size_t(block.index)];
    return tensor_of(decoder_.block(weights_of(block, products), shape, view_of(hidden), nullptr));
  }

  BlockGradients through_block(const Block& block, const Tensor& hidden, const Tensor& gradient,
                               SiteGradients of, Products products) const override {
    const c10::AutoGradMode recording(true);
    const at::Tensor entering = leaf(hidden);
    LayerTensors layer = weights_of(block, products);
    std::vector<at::Tensor> sites, others;
    for (const Site& site : block.sites) {
      LinearTensors& tensors = linear_of(layer, block.index, site.name);
      if (of == SiteGradients::outputs) tensors.bias = probe(site, hidden.rows());
      sites.push_back(of == SiteGradients::outputs ? tensors.bias : tensors.weight.requires_grad_(true));
    }
    for (const NamedTensor& vector : block.others)
      others.push_back(vector_of(layer, block.index, vector.name).requires_grad_(true));
    const LayerShape& shape = decoder_.config().layers[size_t(block.index)];
    decoder_.block(layer, shape, entering, nullptr).backward(view_of(gradient));
    BlockGradients result{.hidden = gradient_of(entering), .sites = {}, .others = {}};
    for (const at::Tensor& site : sites) result.sites.push_back(gradient_of(site));
    for (const at::Tensor& vector : others) result.others.push_back(gradient_of(vector));
    return result;
  }

 private:
  Decoder decoder_;
};

}  // namespace

std::unique_ptr<BackwardModel> open_torch_backward(const ModelConfig& config) {
  use_one_thread_per_product();
  return std::make_unique<TorchBackward>(config);
}

}  // namespace edgeq
