// SPDX-License-Identifier: Apache-2.0
// A blockwise model without attention or an engine: the sites of a real decoder in the real order of stages,
// joined by simple arithmetic. Enough to test the main loop to the bit.
#pragma once

#include <cmath>
#include <memory>

#include "models/blockwise_model.h"
#include "models/import.h"

namespace edgeq {

class FakeModel final : public BlockwiseModel {
 public:
  explicit FakeModel(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  const ModelConfig& config() const override { return checkpoint_.config(); }
  Ends ends() const override { return load_ends(checkpoint_); }
  Block load(int block) const override { return load_block(checkpoint_, block); }

  State begin(std::span<const TokenId> window, const Ends& ends) const override {
    State state{.hidden = Tensor(DType::f32, {int64_t(window.size()), config().hidden}), .input = {}};
    for (size_t t = 0; t < window.size(); ++t)
      std::copy_n(ends.embedding.weight.matrix().row(window[t]), config().hidden,
                  state.hidden.matrix().row(int64_t(t)));
    return state;
  }
  void enter(const Block&, State& state) const override { state.input = state.hidden; }
  void step(const Block& block, int stage, State& state) const override {
    const auto y = [&](int i) {
      return product(block.sites[size_t(block.stages[size_t(stage)].sites[size_t(i)])], state.input);
    };
    switch (stage) {
      case 0:
        state.input =
            combine(y(0), y(1), [](float q, float k) { return std::tanh(q) + 0.5f * std::tanh(k); });
        break;
      case 2: state.input = combine(y(0), y(1), [](float g, float u) { return std::tanh(g) * u; }); break;
      default:
        state.hidden = combine(state.hidden, y(0), [](float h, float d) { return h + 0.5f * d; });
        state.input = state.hidden;
    }
  }
  void finish(const Ends&, State& state) const override { state.input = state.hidden; }

 private:
  static Tensor product(const Site& site, const Tensor& input) {
    Tensor out(DType::f32, {input.rows(), site.weight.rows()});
    for (int64_t t = 0; t < input.rows(); ++t)
      for (int64_t r = 0; r < site.weight.rows(); ++r) {
        float sum = site.bias.empty() ? 0.0f : site.bias.f32()[r];
        for (int64_t c = 0; c < input.cols(); ++c) sum += site.weight.matrix()(r, c) * input.matrix()(t, c);
        out.matrix()(t, r) = sum;
      }
    return out;
  }
  // Of a's shape; b repeats along the columns when it is narrower.
  template <class Op>
  static Tensor combine(const Tensor& a, const Tensor& b, Op op) {
    Tensor out(DType::f32, a.shape());
    for (int64_t t = 0; t < a.rows(); ++t)
      for (int64_t c = 0; c < a.cols(); ++c)
        out.matrix()(t, c) = op(a.matrix()(t, c), b.matrix()(t, c % b.cols()));
    return out;
  }

  const Checkpoint& checkpoint_;
};

}  // namespace edgeq
