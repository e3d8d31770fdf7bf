// SPDX-License-Identifier: Apache-2.0
// The mathematics under autograd: what distillation will rely on.
#include "models/torch/decoder.h"

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "models/import.h"
#include "tests/support/golden_logits.h"

namespace edgeq {
namespace {

class TorchDecoder : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Checkpoint> checkpoint_ = open_checkpoint(read_golden(GetParam()).folder);
  Decoder decoder_{checkpoint_->config()};
  Block block_ = load_block(*checkpoint_, 0);
  LayerTensors layer_ = weights_of(block_);
  LayerShape shape_ = checkpoint_->config().layers[0];
  at::Tensor x_ = at::sin(at::arange(21 * 32, at::kFloat).view({21, 32}) * 1.7);

  at::Tensor run(const at::Tensor& x) const { return decoder_.block(layer_, shape_, x, nullptr); }
};

TEST_P(TorchDecoder, AutogradComputesTheSameBlock) {
  const at::Tensor recorded = run(x_);
  at::Tensor inferred;
  {
    const c10::InferenceMode guard;
    inferred = run(x_).clone();
  }
  // Sums of at most 32 terms in another order, through two residual steps.
  EXPECT_LE((recorded - inferred).abs().max().item<float>(), 1e-5f * recorded.abs().max().item<float>());
}

TEST_P(TorchDecoder, GradientsAreThoseOfFiniteDifferences) {
  // Directional derivative of a fixed projection of the output along a random-looking direction.
  const at::Tensor pick = at::cos(at::arange(21 * 32, at::kFloat).view({21, 32}) * 0.9);
  const at::Tensor direction = at::cos(at::arange(32, at::kFloat) * 2.3);
  const auto value = [&](double step) {
    LayerTensors moved = layer_;
    moved.attn_norm.gain = layer_.attn_norm.gain + direction * step;
    moved.k.weight = layer_.k.weight + layer_.k.weight * step;
    moved.down.weight = layer_.down.weight + layer_.down.weight * step;
    return at::sum(decoder_.block(moved, shape_, x_, nullptr).to(at::kDouble) * pick).item<double>();
  };
  LayerTensors leaf = layer_;
  for (at::Tensor* t : {&leaf.attn_norm.gain, &leaf.k.weight, &leaf.down.weight})
    *t = t->clone().requires_grad_(true);
  at::sum(decoder_.block(leaf, shape_, x_, nullptr) * pick).backward();
  const auto along = [](const at::Tensor& gradient, const at::Tensor& d) {
    return at::sum(gradient.to(at::kDouble) * d).item<double>();
  };
  const double slope = along(leaf.attn_norm.gain.grad(), direction) +
                       along(leaf.k.weight.grad(), layer_.k.weight) +
                       along(leaf.down.weight.grad(), layer_.down.weight);
  // Central difference of step h in f32: error h^2 f''' / 6 + eps |f| / h, some 3e-3 of the slope here.
  const double h = 5e-3, difference = (value(h) - value(-h)) / (2 * h);
  EXPECT_NEAR(slope, difference, 1e-2 * std::abs(difference));
  EXPECT_GT(std::abs(difference), 1.0);  // else the comparison would say nothing
}

INSTANTIATE_TEST_SUITE_P(, TorchDecoder,
                         testing::Values("llama", "mistral-window", "qwen2", "qwen3", "gemma2", "gemma3",
                                         "phi4", "granite", "stablelm", "gpt-neox", "gpt2"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(TorchAttention, ALongSequenceIsTheSameInTilesAndTokenByToken) {
  const c10::InferenceMode guard;
  const int64_t tokens = 300, heads = 4, kv_heads = 2, dim = 8;  // three tiles, the last one short
  const at::Tensor noise = at::sin(at::arange(tokens * (heads + 2 * kv_heads) * dim, at::kFloat) * 3.1)
                               .view({tokens, heads + 2 * kv_heads, dim});
  const at::Tensor q = 3 * noise.narrow(1, 0, heads);
  const at::Tensor k = noise.narrow(1, heads, kv_heads).transpose(0, 1);
  const at::Tensor v = noise.narrow(1, heads + kv_heads, kv_heads).transpose(0, 1);
  const double scale = 1 / std::sqrt(double(dim));
  for (const int64_t window : {0, 1, 40, 1000}) {
    const at::Tensor whole = attend(q, k, v, {.scale = scale, .window = window});
    float worst = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      const at::Tensor one = attend(q.narrow(0, t, 1), k.narrow(1, 0, t + 1), v.narrow(1, 0, t + 1),
                                    {.scale = scale, .window = window});
      worst = std::max(worst, (one - whole.narrow(0, t, 1)).abs().max().item<float>());
    }
    EXPECT_LE(worst, 1e-6f) << "window " << window;  // values are at most 1
  }
  // Control: one token more in the window is seen.
  EXPECT_GT(
      (attend(q, k, v, {.scale = scale, .window = 40}) - attend(q, k, v, {.scale = scale, .window = 41}))
          .abs()
          .max()
          .item<float>(),
      1e-4f);
}

}  // namespace
}  // namespace edgeq
