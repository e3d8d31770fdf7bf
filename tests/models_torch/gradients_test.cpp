// SPDX-License-Identifier: Apache-2.0
#include "models/gradients.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/import.h"
#include "models/torch/torch_model.h"
#include "tests/support/golden_logits.h"

namespace edgeq {
namespace {

Tensor waves(int64_t rows, int64_t cols, double pace) {
  Tensor tensor(DType::f32, {rows, cols});
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.f32()[i] = float(std::sin(pace * double(i)));
  return tensor;
}

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.size(); ++i) sum += double(a.f32()[i]) * double(b.f32()[i]);
  return sum;
}

// The slope of value(step) at 0.
template <class Value>
double central_difference(Value&& value) {
  const double h = 5e-3;
  return (value(h) - value(-h)) / (2 * h);
}

void move(Tensor& tensor, const Tensor& direction, double step) {
  for (int64_t i = 0; i < tensor.size(); ++i)
    tensor.f32()[i] += float(step * double(direction.f32()[i % direction.size()]));
}

class Gradients : public testing::TestWithParam<std::string> {
 protected:
  static constexpr int64_t kTokens = 13;
  // The residual stream that leaves a block, by the engine's other face.
  Tensor leaving(const Block& block, const Tensor& hidden) const {
    State state{.hidden = hidden, .input = {}};
    walk_->enter(block, state);
    for (int s = 0; s < int(block.stages.size()); ++s) walk_->step(block, s, state);
    return state.hidden;
  }

  std::shared_ptr<const Checkpoint> checkpoint_ = open_checkpoint(read_golden(GetParam()).folder);
  std::unique_ptr<BlockwiseModel> walk_ = open_torch_blockwise(checkpoint_);
  std::unique_ptr<BackwardModel> backward_ = open_torch_backward(checkpoint_->config());
  int64_t hidden_ = checkpoint_->config().hidden;
  Tensor x_ = waves(kTokens, hidden_, 1.7), pick_ = waves(kTokens, hidden_, 0.9);
};

// A bias added to a site's outputs changes the loss by the sum over tokens of gradient times bias. In f32 a
// central difference of step h has an error of h^2 f''' / 6 + eps |f| / h: some 3e-3 of the slopes here.
TEST_P(Gradients, AtEverySiteAreThoseOfFiniteDifferences) {
  const Block block = load_block(*checkpoint_, 0);
  const BlockGradients got =
      backward_->through_block(block, x_, pick_, SiteGradients::outputs, Products::f32);
  ASSERT_EQ(got.sites.size(), block.sites.size());
  for (size_t s = 0; s < block.sites.size(); ++s) {
    const int64_t out = block.sites[s].weight.rows();
    const Tensor direction = waves(1, out, 2.3);
    const double difference = central_difference([&](double step) {
      Block moved = block;
      Tensor& bias = moved.sites[s].bias;
      if (bias.empty()) bias = Tensor(DType::f32, {out});
      move(bias, direction, step);
      return dot(leaving(moved, x_), pick_);
    });
    double slope = 0;
    for (int64_t t = 0; t < kTokens; ++t)
      for (int64_t r = 0; r < out; ++r)
        slope += double(got.sites[s].matrix()(t, r)) * double(direction.f32()[r]);
    EXPECT_NEAR(slope, difference, 1e-2 * std::abs(difference) + 2e-3) << block.sites[s].name;
    EXPECT_GT(std::abs(1.05 * slope - difference), 1e-2 * std::abs(difference)) << "a 5 % error must show";
  }
}

// Of weights and norms, which move as a whole: what tuning takes its scales' gradients from.
TEST_P(Gradients, OfWeightsAndNormsAreThoseOfFiniteDifferences) {
  const Block block = load_block(*checkpoint_, 0);
  const BlockGradients got =
      backward_->through_block(block, x_, pick_, SiteGradients::weights, Products::f32);
  ASSERT_EQ(got.sites.size(), block.sites.size());
  ASSERT_EQ(got.others.size(), block.others.size());
  const auto check = [&](const Tensor& gradient, const std::string& name, const auto& tensor_of) {
    const Tensor direction = waves(gradient.size(), 1, 2.3);
    const double difference = central_difference([&](double step) {
      Block moved = block;
      move(tensor_of(moved), direction, step);
      return dot(leaving(moved, x_), pick_);
    });
    const double slope = dot(gradient, direction);
    EXPECT_NEAR(slope, difference, 1e-2 * std::abs(difference) + 5e-3) << name;
  };
  for (size_t s = 0; s < block.sites.size(); ++s)
    check(got.sites[s], block.sites[s].name, [&](Block& b) -> Tensor& { return b.sites[s].weight; });
  for (size_t v = 0; v < block.others.size(); ++v)
    check(got.others[v], block.others[v].name, [&](Block& b) -> Tensor& { return b.others[v].tensor; });
}

TEST_P(Gradients, OfTheStreamThatEntersABlockAreThoseOfFiniteDifferences) {
  const Block block = load_block(*checkpoint_, 0);
  const Tensor direction = waves(kTokens, hidden_, 0.37);
  const double difference = central_difference([&](double step) {
    Tensor moved = x_;
    move(moved, direction, step);
    return dot(leaving(block, moved), pick_);
  });
  const double slope = dot(
      backward_->through_block(block, x_, pick_, SiteGradients::outputs, Products::f32).hidden, direction);
  EXPECT_NEAR(slope, difference, 1e-2 * std::abs(difference));
}

// Operands of 8 bits: each product is off by some 2^-9 of its terms, far less than what a gradient in the
// wrong direction would be.
TEST_P(Gradients, Bf16ProductsGiveNearlyTheSame) {
  const Block block = load_block(*checkpoint_, 0);
  const BlockGradients f32 =
      backward_->through_block(block, x_, pick_, SiteGradients::weights, Products::f32);
  const BlockGradients bf16 =
      backward_->through_block(block, x_, pick_, SiteGradients::weights, Products::bf16);
  for (size_t s = 0; s < block.sites.size(); ++s)
    EXPECT_GT(dot(f32.sites[s], bf16.sites[s]),
              0.995 * std::sqrt(dot(f32.sites[s], f32.sites[s]) * dot(bf16.sites[s], bf16.sites[s])))
        << block.sites[s].name;
  const Tensor exact = backward_->leaving(block, x_, Products::f32), walked = leaving(block, x_);
  for (int64_t i = 0; i < exact.size(); ++i)
    EXPECT_NEAR(exact.f32()[i], walked.f32()[i], 1e-4 * (1 + std::abs(walked.f32()[i])));
  const Tensor rough = backward_->leaving(block, x_, Products::bf16);
  EXPECT_GT(dot(rough, exact), 0.9995 * std::sqrt(dot(rough, rough) * dot(exact, exact)));
}

// Of a loss that is linear in the logits, at the head's outputs and at the stream behind the last block.
TEST_P(Gradients, ThroughTheHeadAreThoseOfFiniteDifferences) {
  Ends ends = load_ends(*checkpoint_);
  const int64_t vocab = ends.head_site().weight.rows();
  const Tensor pick = waves(kTokens, vocab, 0.9), direction = waves(kTokens, hidden_, 0.37);
  double loss = 0;
  const LossGradient linear = [&](MatrixView<float> logits) {
    loss = 0;
    for (int64_t i = 0; i < pick.size(); ++i) {
      loss += double(logits.data[i]) * double(pick.f32()[i]);
      logits.data[i] = pick.f32()[i];
    }
  };
  const HeadGradients got = backward_->through_head(ends, x_, linear);
  const double by_stream = central_difference([&](double step) {
    Tensor moved = x_;
    move(moved, direction, step);
    backward_->through_head(ends, moved, linear);
    return loss;
  });
  EXPECT_NEAR(dot(got.hidden, direction), by_stream, 1e-2 * std::abs(by_stream));
  ASSERT_EQ(got.others.size(), ends.others.size());
  for (size_t v = 0; v < ends.others.size(); ++v) {
    if (got.others[v].empty()) continue;
    const Tensor along = waves(1, got.others[v].size(), 2.3);
    const double by_norm = central_difference([&](double step) {
      Ends moved = ends;
      move(moved.others[v].tensor, along, step);
      backward_->through_head(moved, x_, linear);
      return loss;
    });
    EXPECT_NEAR(dot(got.others[v], along), by_norm, 1e-2 * std::abs(by_norm) + 1e-3) << ends.others[v].name;
  }
  const Tensor logits = backward_->logits(ends, x_);
  backward_->through_head(ends, x_, [&](MatrixView<float> values) {
    for (int64_t i = 0; i < logits.size(); ++i) EXPECT_NEAR(values.data[i], logits.f32()[i], 1e-4);
  });
  ASSERT_EQ(got.site.rows(), kTokens);
  ASSERT_EQ(got.site.cols(), vocab);
}

INSTANTIATE_TEST_SUITE_P(, Gradients, testing::ValuesIn(gradient_variants()), variant_test_name);

}  // namespace
}  // namespace edgeq
