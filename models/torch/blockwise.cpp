// SPDX-License-Identifier: Apache-2.0
#include <c10/core/InferenceMode.h>

#include <utility>

#include "core/error.h"
#include "models/torch/decoder.h"
#include "models/torch/threads.h"
#include "models/torch/torch_model.h"

namespace edgeq {
namespace {

enum StageIndex { kQkv, kO, kUp, kDown };

class TorchBlockwise final : public BlockwiseModel {
 public:
  explicit TorchBlockwise(std::shared_ptr<const Checkpoint> checkpoint)
      : checkpoint_(std::move(checkpoint)), decoder_(checkpoint_->config()) {}

  const ModelConfig& config() const override { return decoder_.config(); }
  Ends ends() const override { return load_ends(*checkpoint_); }
  Block load(int block) const override { return load_block(*checkpoint_, block); }

  State begin(std::span<const TokenId> window, const Ends& ends) const override {
    const c10::InferenceMode guard;
    check_tokens(window, config());
    State state;
    state.hidden = tensor_of(decoder_.embed(ends, window, 0));
    return state;
  }

  void enter(const Block& block, State& state) const override {
    const c10::InferenceMode guard;
    state.input = tensor_of(decoder_.qkv_input(weights_of(block), view_of(state.hidden)));
  }

  void step(const Block& block, int stage, State& state) const override {
    const c10::InferenceMode guard;
    const LayerTensors layer = weights_of(block);
    const at::Tensor input = view_of(state.input);
    at::Tensor hidden = view_of(state.hidden);
    switch (stage) {
      case kQkv:
        state.input = tensor_of(decoder_.o_input(layer, shape_of(block, layer), input, nullptr));
        break;
      case kO: {
        // What the feed-forward reads is the hidden state before or after attention is added to it.
        const bool before = config().residual != Residual::sequential;
        at::Tensor next;
        if (before) next = decoder_.up_input(layer, hidden);
        hidden.add_(decoder_.attention_update(layer, input));
        state.input = tensor_of(before ? next : decoder_.up_input(layer, hidden));
        break;
      }
      case kUp: state.input = tensor_of(decoder_.down_input(layer, input)); break;
      case kDown:
        hidden.add_(decoder_.mlp_update(layer, input));
        state.input = Tensor();
        break;
      default: EDGEQ_CHECK(false, "a decoder block has four stages");
    }
  }

  void finish(const Ends& ends, State& state) const override {
    const c10::InferenceMode guard;
    state.input = tensor_of(decoder_.head_input(ends, view_of(state.hidden)));
  }

 private:
  // Heads as the block has them: a pruned one has fewer than the config says.
  LayerShape shape_of(const Block& block, const LayerTensors& layer) const {
    LayerShape shape = config().layers[size_t(block.index)];
    shape.heads = layer.q.weight.size(0) / shape.head_dim;
    shape.kv_heads = layer.k.weight.size(0) / shape.head_dim;
    return shape;
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  Decoder decoder_;
};

}  // namespace

std::unique_ptr<BlockwiseModel> open_torch_blockwise(std::shared_ptr<const Checkpoint> checkpoint) {
  use_one_thread_per_product();
  return std::make_unique<TorchBlockwise>(std::move(checkpoint));
}

}  // namespace edgeq
