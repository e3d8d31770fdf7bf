// SPDX-License-Identifier: Apache-2.0
#include "models/gradients.h"

#include <c10/core/GradMode.h>

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

class TorchBackward final : public BackwardModel {
 public:
  explicit TorchBackward(const ModelConfig& config) : decoder_(config) {}

  HeadGradients through_head(const Ends& ends, const Tensor& hidden,
                             const LossGradient& loss) const override {
    const c10::AutoGradMode recording(true);
    const at::Tensor entering = leaf(hidden), outputs = probe(ends.head_site(), hidden.rows());
    const LinearTensors head{view_of(ends.head_site().weight), outputs};
    const at::Tensor logits = decoder_.logits(head, decoder_.head_input(ends, entering));
    Tensor gradient = tensor_of(logits.detach());
    loss(gradient.matrix());
    logits.backward(view_of(gradient));
    return {.hidden = gradient_of(entering), .site = gradient_of(outputs)};
  }

  BlockGradients through_block(const Block& block, const Tensor& hidden,
                               const Tensor& gradient) const override {
    const c10::AutoGradMode recording(true);
    const at::Tensor entering = leaf(hidden);
    LayerTensors layer = weights_of(block);
    std::vector<at::Tensor> outputs;
    for (const Site& site : block.sites) {
      outputs.push_back(probe(site, hidden.rows()));
      linear_of(layer, block.index, site.name).bias = outputs.back();
    }
    const LayerShape& shape = decoder_.config().layers[size_t(block.index)];
    decoder_.block(layer, shape, entering, nullptr).backward(view_of(gradient));
    BlockGradients result{.hidden = gradient_of(entering), .sites = {}};
    for (const at::Tensor& output : outputs) result.sites.push_back(gradient_of(output));
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
