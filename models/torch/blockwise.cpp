// SPDX-License-Identifier: Apache-2.0
#include <c10/core/InferenceMode.h>

#include <cstring>
#include <utility>

#include "core/error.h"
#include "models/torch/llama.h"
#include "models/torch/threads.h"
#include "models/torch/torch_model.h"

namespace edgeq {
namespace {

Tensor tensor_of(const at::Tensor& values) {
  const at::Tensor packed = values.contiguous();
  Tensor out(DType::f32, packed.sizes().vec());
  std::memcpy(out.data(), packed.data_ptr<float>(), size_t(out.bytes()));
  return out;
}

enum StageIndex { kQkv, kO, kGateUp, kDown };

class TorchBlockwise final : public BlockwiseModel {
 public:
  explicit TorchBlockwise(std::shared_ptr<const Checkpoint> checkpoint)
      : checkpoint_(std::move(checkpoint)), llama_(checkpoint_->config()) {}

  const ModelConfig& config() const override { return llama_.config(); }
  Ends ends() const override { return load_ends(*checkpoint_); }
  Block load(int block) const override { return load_block(*checkpoint_, block); }

  State begin(std::span<const TokenId> window, const Ends& ends) const override {
    check_tokens(window, config());
    const auto table = ends.embedding.weight.matrix();
    State state;
    state.hidden = Tensor(DType::f32, {int64_t(window.size()), table.cols});
    const auto hidden = state.hidden.matrix();
    for (int64_t t = 0; t < hidden.rows; ++t)
      std::memcpy(hidden.row(t), table.row(window[size_t(t)]), size_t(table.cols) * sizeof(float));
    return state;
  }

  void enter(const Block& block, State& state) const override {
    const c10::InferenceMode guard;
    state.input = tensor_of(llama_.qkv_input(weights_of(block), view_of(state.hidden)));
  }

  void step(const Block& block, int stage, State& state) const override {
    const c10::InferenceMode guard;
    const LayerWeights layer = weights_of(block);
    const at::Tensor input = view_of(state.input);
    at::Tensor hidden = view_of(state.hidden);
    switch (stage) {
      case kQkv:
        state.input = tensor_of(llama_.o_input(layer, config().layers[size_t(block.index)], input, nullptr));
        break;
      case kO:
        hidden.add_(linear(input, layer.o));
        state.input = tensor_of(llama_.gate_up_input(layer, hidden));
        break;
      case kGateUp: state.input = tensor_of(llama_.down_input(layer, input)); break;
      case kDown:
        hidden.add_(linear(input, layer.down));
        state.input = Tensor();
        break;
      default: EDGEQ_CHECK(false, "a decoder block has four stages");
    }
  }

  void finish(const Ends& ends, State& state) const override {
    const c10::InferenceMode guard;
    state.input = tensor_of(llama_.head_input(view_of(ends.norm.tensor), view_of(state.hidden)));
  }

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  Llama llama_;
};

}  // namespace

std::unique_ptr<BlockwiseModel> open_torch_blockwise(std::shared_ptr<const Checkpoint> checkpoint) {
  use_one_thread_per_product();
  return std::make_unique<TorchBlockwise>(std::move(checkpoint));
}

}  // namespace edgeq
