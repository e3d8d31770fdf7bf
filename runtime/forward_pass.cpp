// SPDX-License-Identifier: Apache-2.0
#include "runtime/forward_pass.h"

#include <algorithm>

#include "formats/panels.h"

namespace edgeq {

ForwardPass::ForwardPass(Transformer& model, std::span<const Chunk> chunks, float* logits, int thread,
                         int threads)
    : model_(model),
      space_(model.space_),
      own_(model.space_.threads[size_t(thread)]),
      kernels_(model.kernels_),
      rows_(model.rows_),
      chunks_(chunks),
      logits_(logits),
      epsilon_(float(model.config().norm_epsilon)),
      tokens_(model.rows_.count),
      thread_(thread),
      threads_(threads) {}

void ForwardPass::run() noexcept {
  embed();
  barrier();
  const ModelWeights& weights = model_.weights_;
  const bool parallel = weights.config.residual != Residual::sequential;
  for (int64_t i = 0; i < std::ssize(weights.layers); ++i) {
    const LayerWeights& layer = weights.layers[size_t(i)];
    const LayerShape& shape = weights.config.layers[size_t(i)];
    attention_inputs(layer);
    if (parallel) {
      if (!single()) barrier();  // the rows that attention reads are prepared anew
      feed_forward_inner(layer, shape);
    }
    barrier();
    attention(layer, i);
    barrier();
    if (!parallel) {
      feed_forward_inner(layer, shape);
      barrier();
    }
    feed_forward_output(layer, shape);
    barrier();
  }
  if (rows_.logits > 0) logits();
}

void ForwardPass::embed() noexcept {
  const ModelConfig& config = model_.config();
  const auto scale = float(config.embedding_scale);
  for (int64_t t = share_of(tokens_, thread_); t < share_of(tokens_, thread_ + 1); ++t) {
    float* hidden = space_.hidden.row(t);
    model_.weights_.embedding.read_row(rows_.tokens[size_t(t)], own_.panel.data(), hidden);
    for (int64_t i = 0; i < config.hidden; ++i) hidden[i] *= scale;
    if (!config.learned_positions) continue;
    const float* position = model_.weights_.positions.data() + rows_.positions[size_t(t)] * config.hidden;
    for (int64_t i = 0; i < config.hidden; ++i) hidden[i] += position[i];
  }
}

template <class WriteRow>
Activation ForwardPass::prepare(int64_t count, int64_t cols, Codes codes,
                                const WriteRow& write_row) noexcept {
  const bool alone = count == 1;
  ActivationBuffer& buffer = alone ? own_.input : space_.input;
  const int64_t begin = alone ? 0 : share_of(count, thread_), end = alone ? 1 : share_of(count, thread_ + 1);
  for (int64_t i = begin; i < end; ++i) {
    write_row(i, buffer.row(i));
    if (codes.wanted) buffer.quantize(kernels_, model_.activations_, codes.input_scale, i, cols);
  }
  if (!alone) barrier();
  return buffer.view(count, cols, codes.wanted);
}

void ForwardPass::apply(const Norm& norm, const float* x, float* out) const noexcept {
  const int64_t hidden = model_.config().hidden;
  if (norm.gain.empty()) {
    std::copy_n(x, hidden, out);
  } else if (norm.bias.empty()) {
    kernels_.rms_norm(x, norm.gain.data(), hidden, epsilon_, out);
  } else {
    kernels_.layer_norm(x, norm.gain.data(), norm.bias.data(), hidden, epsilon_, out);
  }
}

Activation ForwardPass::prepare_norm(const Norm& norm, Codes codes) noexcept {
  return prepare(tokens_, model_.config().hidden, codes,
                 [&](int64_t t, float* out) { apply(norm, space_.hidden.row(t), out); });
}

template <class... Matrices>
ForwardPass::Codes ForwardPass::codes_for(const Matrices&... matrices) const {
  // Those that are read as codes have the same scale.
  return {.wanted = model_.activations_ != Activations::f32 && (matrices.quantized() || ...),
          .input_scale = std::max({matrices.input_scale()...})};
}

void ForwardPass::multiply(const Linear& linear, const Activation& x, PanelRange range, Rows& out) noexcept {
  linear.weight.multiply(x, range, out.row(0), out.stride, own_.panel.data());
  if (linear.bias.empty()) return;
  const int64_t begin = range.begin * kPanelRows;
  const int64_t end = std::min(range.end * kPanelRows, linear.weight.rows());
  for (int64_t t = 0; t < x.tokens; ++t)
    for (int64_t r = begin; r < end; ++r) out.row(t)[r] += linear.bias[size_t(r)];
}

void ForwardPass::add_to_hidden(const Linear& linear, const Norm& post, const Activation& x) noexcept {
  const auto [range] = share_panels<1>({&linear.weight}, thread_, threads_);
  multiply(linear, x, range, space_.output);
  const auto scale = float(model_.config().residual_scale);
  const auto add = [&](int64_t token, int64_t begin, int64_t end) {
    float* hidden = space_.hidden.row(token);
    const float* output = space_.output.row(token);
    for (int64_t r = begin; r < end; ++r) hidden[r] += scale * output[r];
  };
  if (post.gain.empty()) {
    const int64_t begin = range.begin * kPanelRows;
    const int64_t end = std::min(range.end * kPanelRows, linear.weight.rows());
    for (int64_t t = 0; t < x.tokens; ++t) add(t, begin, end);
    return;
  }
  barrier();
  for (int64_t t = share_of(x.tokens, thread_); t < share_of(x.tokens, thread_ + 1); ++t) {
    apply(post, space_.output.row(t), space_.output.row(t));
    add(t, 0, linear.weight.rows());
  }
}

void ForwardPass::attention_inputs(const LayerWeights& layer) noexcept {
  const Codes codes = codes_for(layer.q.weight, layer.k.weight, layer.v.weight);
  const Activation x = prepare_norm(layer.attn_norm, codes);
  const auto ranges = share_panels<3>({&layer.q.weight, &layer.k.weight, &layer.v.weight}, thread_, threads_);
  multiply(layer.q, x, ranges[0], space_.q);
  multiply(layer.k, x, ranges[1], space_.k);
  multiply(layer.v, x, ranges[2], space_.v);
}

// One norm over all heads together, before they are rotated.
void ForwardPass::norm_all_heads(const LayerWeights& layer) noexcept {
  const auto norm = [&](const std::vector<float>& gain, float* row) {
    kernels_.rms_norm(row, gain.data(), std::ssize(gain), epsilon_, row);
  };
  for (int64_t t = share_of(tokens_, thread_); t < share_of(tokens_, thread_ + 1); ++t) {
    norm(layer.q_norm, space_.q.row(t));
    norm(layer.k_norm, space_.k.row(t));
  }
}

AttentionInput ForwardPass::attention_input(const LayerWeights& layer, int64_t index, const Chunk& chunk,
                                            int64_t row) const noexcept {
  const ModelConfig& config = model_.config();
  const LayerShape& shape = config.layers[size_t(index)];
  const bool of_heads = !config.joint_qk_norm;
  return {.kernels = kernels_,
          .shape = shape,
          .reach = reach_of(shape, model_.reach()),
          .q_norm = of_heads ? std::span(layer.q_norm) : std::span<const float>(),
          .k_norm = of_heads ? std::span(layer.k_norm) : std::span<const float>(),
          .epsilon = epsilon_,
          .scale = float(attention_scale_of(config, shape)),
          .soft_cap = float(config.attention_soft_cap),
          .rope = model_.rope(index, chunk.cache->max_tokens()),
          .layer = index,
          .first = chunk.first,
          .tokens = std::ssize(chunk.tokens),
          .row = row};
}

void ForwardPass::attention(const LayerWeights& layer, int64_t index) noexcept {
  const ModelConfig& config = model_.config();
  if (config.joint_qk_norm) {
    norm_all_heads(layer);
    barrier();
  }
  // step(part) of every chunk's attention, between two barriers.
  const auto each = [&](const auto& step) {
    int64_t row = 0;
    for (const Chunk& chunk : chunks_) {
      const AttentionInput input = attention_input(layer, index, chunk, row);
      Attention part(input, *chunk.cache, space_, thread_, threads_);
      step(part);
      row += input.tokens;
    }
  };
  each([&](Attention& part) { single() ? part.score() : part.store(); });
  barrier();
  bool encoded = false;
  each([&](Attention& part) { encoded |= part.encode(); });
  if (encoded && !single()) barrier();  // a single token sees the page as floats
  int64_t unit = 0;
  each([&](Attention& part) { single() ? part.mix() : part.attend(unit); });
  barrier();
  const int64_t cols = layer.o.weight.cols();
  add_to_hidden(layer.o, layer.attn_post_norm,
                prepare(tokens_, cols, codes_for(layer.o.weight),
                        [&](int64_t t, float* out) { std::copy_n(space_.attended.row(t), cols, out); }));
}

void ForwardPass::activate(float* gate, const float* up, int64_t count) const noexcept {
  const ModelConfig& config = model_.config();
  if (config.nonlinearity == Nonlinearity::silu) {
    kernels_.silu_mul(gate, up, count, gate);
    return;
  }
  const auto gelu = config.nonlinearity == Nonlinearity::gelu_tanh ? kernels_.gelu_tanh : kernels_.gelu_erf;
  gelu(gate, count);
  if (!config.gated_mlp) return;
  for (int64_t i = 0; i < count; ++i) gate[i] *= up[i];
}

void ForwardPass::feed_forward_inner(const LayerWeights& layer, const LayerShape& shape) noexcept {
  const ModelConfig& config = model_.config();
  const Codes codes = codes_for(layer.gate.weight, layer.up.weight);
  const Norm& norm = config.residual == Residual::parallel_shared ? layer.attn_norm : layer.mlp_norm;
  const Activation x = prepare_norm(norm, codes);
  // The same rows of both, so that their product needs no barrier.
  const int64_t panels = layer.up.weight.panels();
  const PanelRange range{share_of(panels, thread_), share_of(panels, thread_ + 1)};
  multiply(config.gated_mlp ? layer.gate : layer.up, x, range, space_.gate);
  if (config.gated_mlp) multiply(layer.up, x, range, space_.up);
  const int64_t begin = range.begin * kPanelRows, end = std::min(range.end * kPanelRows, shape.ffn);
  for (int64_t t = 0; t < tokens_; ++t)
    activate(space_.gate.row(t) + begin, space_.up.row(t) + begin, std::max<int64_t>(end - begin, 0));
}

void ForwardPass::feed_forward_output(const LayerWeights& layer, const LayerShape& shape) noexcept {
  const Codes codes = codes_for(layer.down.weight);
  add_to_hidden(layer.down, layer.mlp_post_norm,
                prepare(tokens_, shape.ffn, codes,
                        [&](int64_t t, float* out) { std::copy_n(space_.gate.row(t), shape.ffn, out); }));
}

void ForwardPass::logits() noexcept {
  const ModelConfig& config = model_.config();
  const PackedMatrix& head = model_.weights_.head_matrix();
  const Norm& norm = model_.weights_.final_norm;
  const Activation x = prepare(rows_.logits, config.hidden, codes_for(head), [&](int64_t i, float* out) {
    apply(norm, space_.hidden.row(rows_.with_logits[size_t(i)]), out);
  });
  const auto [range] = share_panels<1>({&head}, thread_, threads_);
  head.multiply(x, range, logits_, model_.logits_stride(), own_.panel.data());
  const int64_t begin = range.begin * kPanelRows;
  const int64_t count = std::max<int64_t>(std::min(range.end * kPanelRows, config.vocab) - begin, 0);
  const auto divisor = float(config.logit_divisor), cap = float(config.logit_soft_cap);
  for (int64_t t = 0; t < rows_.logits; ++t) {
    float* row = logits_ + t * model_.logits_stride() + begin;
    if (divisor != 1)
      for (int64_t i = 0; i < count; ++i) row[i] /= divisor;
    if (cap != 0) kernels_.soft_cap(row, count, 1 / cap, cap);
  }
}

}  // namespace edgeq
