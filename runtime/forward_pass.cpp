// SPDX-License-Identifier: Apache-2.0
#include "runtime/forward_pass.h"

#include <algorithm>

#include "formats/panels.h"
#include "runtime/attention.h"

namespace edgeq {

ForwardPass::ForwardPass(Transformer& model, const Chunk& chunk, int thread, int threads)
    : model_(model),
      space_(model.space_),
      own_(model.space_.threads[size_t(thread)]),
      kernels_(model.kernels_),
      chunk_(chunk),
      epsilon_(float(model.config().rms_epsilon)),
      tokens_(std::ssize(chunk.tokens)),
      thread_(thread),
      threads_(threads) {}

void ForwardPass::run() noexcept {
  embed();
  barrier();
  const ModelWeights& weights = model_.weights_;
  for (int64_t i = 0; i < std::ssize(weights.layers); ++i) {
    const LayerWeights& layer = weights.layers[size_t(i)];
    const LayerShape& shape = weights.config.layers[size_t(i)];
    attention_inputs(layer);
    barrier();
    attention(layer, i);
    barrier();
    feed_forward(layer, shape);
    barrier();
  }
  if (chunk_.logit_rows > 0) logits();
}

void ForwardPass::embed() noexcept {
  for (int64_t t = share_of(tokens_, thread_); t < share_of(tokens_, thread_ + 1); ++t)
    model_.weights_.embedding.read_row(chunk_.tokens[size_t(t)], own_.panel.data(), space_.hidden.row(t));
}

template <class WriteRow>
Activation ForwardPass::prepare(int64_t first, int64_t count, int64_t cols, bool with_codes,
                                const WriteRow& write_row) noexcept {
  const bool alone = count == 1;
  ActivationBuffer& buffer = alone ? own_.input : space_.input;
  const int64_t begin = alone ? 0 : share_of(count, thread_), end = alone ? 1 : share_of(count, thread_ + 1);
  for (int64_t i = begin; i < end; ++i) {
    write_row(first + i, buffer.row(i));
    if (with_codes) buffer.quantize(kernels_, model_.activations_, i, cols);
  }
  if (!alone) barrier();
  return buffer.view(count, cols, with_codes);
}

Activation ForwardPass::prepare_norm(const std::vector<float>& gain, int64_t first, int64_t count,
                                     bool with_codes) noexcept {
  const int64_t hidden = model_.config().hidden;
  return prepare(first, count, hidden, with_codes, [&](int64_t t, float* out) {
    kernels_.rms_norm(space_.hidden.row(t), gain.data(), hidden, epsilon_, out);
  });
}

template <class... Matrices>
bool ForwardPass::wants_codes(const Matrices&... matrices) const {
  return model_.activations_ != Activations::f32 && (matrices.quantized() || ...);
}

void ForwardPass::multiply(const Linear& linear, const Activation& x, PanelRange range, Rows& out) noexcept {
  linear.weight.multiply(x, range, out.row(0), out.stride, own_.panel.data());
  if (linear.bias.empty()) return;
  const int64_t begin = range.begin * kPanelRows;
  const int64_t end = std::min(range.end * kPanelRows, linear.weight.rows());
  for (int64_t t = 0; t < x.tokens; ++t)
    for (int64_t r = begin; r < end; ++r) out.row(t)[r] += linear.bias[size_t(r)];
}

void ForwardPass::add_to_hidden(const Linear& linear, const Activation& x) noexcept {
  const auto [range] = share_panels<1>({&linear.weight}, thread_, threads_);
  multiply(linear, x, range, space_.output);
  const int64_t begin = range.begin * kPanelRows;
  const int64_t end = std::min(range.end * kPanelRows, linear.weight.rows());
  for (int64_t t = 0; t < x.tokens; ++t)
    for (int64_t r = begin; r < end; ++r) space_.hidden.row(t)[r] += space_.output.row(t)[r];
}

void ForwardPass::attention_inputs(const LayerWeights& layer) noexcept {
  const bool codes = wants_codes(layer.q.weight, layer.k.weight, layer.v.weight);
  const Activation x = prepare_norm(layer.attn_norm, 0, tokens_, codes);
  const auto ranges = share_panels<3>({&layer.q.weight, &layer.k.weight, &layer.v.weight}, thread_, threads_);
  multiply(layer.q, x, ranges[0], space_.q);
  multiply(layer.k, x, ranges[1], space_.k);
  multiply(layer.v, x, ranges[2], space_.v);
}

void ForwardPass::attention(const LayerWeights& layer, int64_t index) noexcept {
  const LayerShape& shape = model_.config().layers[size_t(index)];
  const AttentionInput input{.kernels = kernels_,
                             .shape = shape,
                             .weights = layer,
                             .epsilon = epsilon_,
                             .rope = model_.rope(shape),
                             .layer = index,
                             .first = chunk_.first,
                             .tokens = tokens_};
  Attention part(input, *chunk_.cache, space_, thread_, threads_);
  single() ? part.score() : part.store();
  barrier();
  single() ? part.mix() : part.attend();
  barrier();
  const int64_t cols = layer.o.weight.cols();
  add_to_hidden(layer.o, prepare(0, tokens_, cols, wants_codes(layer.o.weight), [&](int64_t t, float* out) {
                  std::copy_n(space_.attended.row(t), cols, out);
                }));
}

void ForwardPass::feed_forward(const LayerWeights& layer, const LayerShape& shape) noexcept {
  const bool codes = wants_codes(layer.gate.weight, layer.up.weight);
  const Activation x = prepare_norm(layer.mlp_norm, 0, tokens_, codes);
  // The same rows of both, so that their product needs no barrier.
  const int64_t panels = layer.gate.weight.panels();
  const PanelRange range{share_of(panels, thread_), share_of(panels, thread_ + 1)};
  multiply(layer.gate, x, range, space_.gate);
  multiply(layer.up, x, range, space_.up);
  const int64_t begin = range.begin * kPanelRows, end = std::min(range.end * kPanelRows, shape.ffn);
  for (int64_t t = 0; t < tokens_; ++t) {
    float* gate = space_.gate.row(t) + begin;
    kernels_.silu_mul(gate, space_.up.row(t) + begin, std::max<int64_t>(end - begin, 0), gate);
  }
  barrier();
  const bool down_codes = wants_codes(layer.down.weight);
  add_to_hidden(layer.down, prepare(0, tokens_, shape.ffn, down_codes, [&](int64_t t, float* out) {
                  std::copy_n(space_.gate.row(t), shape.ffn, out);
                }));
}

void ForwardPass::logits() noexcept {
  const PackedMatrix& head = model_.weights_.head_matrix();
  const Activation x = prepare_norm(model_.weights_.final_norm, tokens_ - chunk_.logit_rows,
                                    chunk_.logit_rows, wants_codes(head));
  const auto [range] = share_panels<1>({&head}, thread_, threads_);
  head.multiply(x, range, chunk_.logits, model_.logits_stride(), own_.panel.data());
}

}  // namespace edgeq
