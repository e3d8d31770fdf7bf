// SPDX-License-Identifier: Apache-2.0
// The forward pass of a decoder (models/config.h) written down once more, in double precision and as plainly
// as its formulas: what the engines are held against. No cache: every token looks at all before it.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "models/import.h"
#include "models/names.h"
#include "models/token.h"
#include "runtime/reach.h"

namespace edgeq {

class ReferenceForward {
 public:
  using Row = std::vector<double>;
  using Matrix = std::vector<Row>;  // one row per token

  explicit ReferenceForward(const Checkpoint& checkpoint, const Reach& reach = {})
      : checkpoint_(checkpoint), config_(checkpoint.config()), reach_(reach) {}

  // Logits of every token.
  Matrix operator()(const std::vector<TokenId>& tokens) const {
    Matrix hidden;
    const Tensor table = checkpoint_.load("embedding");
    for (const TokenId token : tokens)
      hidden.emplace_back(table.f32() + token * config_.hidden, table.f32() + (token + 1) * config_.hidden);
    scale(hidden, config_.embedding_scale);
    if (config_.learned_positions) {
      const Tensor positions = checkpoint_.load("positions");
      for (size_t t = 0; t < hidden.size(); ++t)
        for (size_t i = 0; i < hidden[t].size(); ++i)
          hidden[t][i] += positions.f32()[t * hidden[t].size() + i];
    }
    for (int64_t l = 0; l < std::ssize(config_.layers); ++l) {
      const bool shared = config_.residual == Residual::parallel_shared;
      const std::string mlp_norm = layer_site(l, shared ? "attn_norm" : "mlp_norm");
      Matrix attended =
          normed(attention(normed(hidden, layer_site(l, "attn_norm")), l), layer_site(l, "attn_post_norm"));
      scale(attended, config_.residual_scale);
      Matrix read = hidden;
      if (config_.residual == Residual::sequential) add(read, attended);
      Matrix fed = normed(feed_forward(normed(read, mlp_norm), l), layer_site(l, "mlp_post_norm"));
      scale(fed, config_.residual_scale);
      add(hidden, attended);
      add(hidden, fed);
    }
    Matrix logits = linear(normed(hidden, "final_norm"), config_.tied_head ? "embedding" : "head");
    scale(logits, 1 / config_.logit_divisor);
    for (Row& row : logits)
      for (double& logit : row) logit = capped(logit, config_.logit_soft_cap);
    return logits;
  }

 private:
  static void scale(Matrix& x, double factor) {
    for (Row& row : x)
      for (double& value : row) value *= factor;
  }

  static double capped(double x, double cap) { return cap == 0 ? x : cap * std::tanh(x / cap); }

  double active(double x) const {
    switch (config_.nonlinearity) {
      case Nonlinearity::silu: return x / (1 + std::exp(-x));
      case Nonlinearity::gelu_erf: return x / 2 * std::erfc(-x * std::sqrt(0.5));
      case Nonlinearity::gelu_tanh: break;
    }
    return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  }

  Matrix feed_forward(const Matrix& input, int64_t l) const {
    const Matrix up = linear(input, layer_site(l, "mlp.up_proj"));
    Matrix inner = config_.gated_mlp ? linear(input, layer_site(l, "mlp.gate_proj")) : up;
    for (size_t t = 0; t < inner.size(); ++t)
      for (size_t i = 0; i < up[t].size(); ++i)
        inner[t][i] = active(inner[t][i]) * (config_.gated_mlp ? up[t][i] : 1);
    return linear(inner, layer_site(l, "mlp.down_proj"));
  }

  static void add(Matrix& to, const Matrix& what) {
    for (size_t t = 0; t < to.size(); ++t)
      for (size_t i = 0; i < to[t].size(); ++i) to[t][i] += what[t][i];
  }

  Matrix linear(const Matrix& x, const std::string& site) const {
    const Tensor weight = checkpoint_.load(site);
    const bool biased = checkpoint_.has(site + ".bias");
    const Tensor bias = biased ? checkpoint_.load(site + ".bias") : Tensor();
    Matrix y(x.size(), Row(size_t(weight.rows())));
    for (size_t t = 0; t < x.size(); ++t) {
      for (int64_t r = 0; r < weight.rows(); ++r) {
        double sum = biased ? bias.f32()[r] : 0;
        for (int64_t c = 0; c < weight.cols(); ++c) sum += weight.matrix()(r, c) * x[t][size_t(c)];
        y[t][size_t(r)] = sum;
      }
    }
    return y;
  }

  void rms_norm(double* x, const Tensor& gain) const {
    double squares = 0;
    for (int64_t i = 0; i < gain.size(); ++i) squares += x[i] * x[i];
    const double r = 1 / std::sqrt(squares / double(gain.size()) + config_.norm_epsilon);
    for (int64_t i = 0; i < gain.size(); ++i) x[i] *= r * gain.f32()[i];
  }

  // As it is where the model has no such norm.
  Matrix normed(Matrix x, const std::string& name) const {
    if (!checkpoint_.has(name)) return x;
    const Tensor gain = checkpoint_.load(name);
    for (Row& row : x) {
      if (config_.norm == NormKind::layer) {
        double mean = 0;
        for (const double value : row) mean += value / double(row.size());
        for (double& value : row) value -= mean;
      }
      rms_norm(row.data(), gain);
    }
    if (config_.norm == NormKind::rms) return x;
    const Tensor bias = checkpoint_.load(name + ".bias");
    for (Row& row : x)
      for (size_t i = 0; i < row.size(); ++i) row[i] += bias.f32()[i];
    return x;
  }

  // q or k, ready for the dot product: normed where the model does, and rotated as at their positions, but at
  // `last` where they are beyond it. The sequence has room for as many tokens as one sees.
  Matrix rotated(Matrix x, const LayerShape& shape, const std::string& norm_name,
                 int64_t last = INT64_MAX) const {
    const Tensor gain = config_.qk_norm ? checkpoint_.load(norm_name) : Tensor();
    const Rope rope = rope_of(config_, shape, reach_.limited() ? reach_.tokens() : config_.context);
    const int64_t half = rope.dims / 2;
    for (size_t t = 0; t < x.size(); ++t) {
      if (config_.joint_qk_norm) rms_norm(x[t].data(), gain);
      for (double* head = x[t].data(); head < x[t].data() + x[t].size(); head += shape.head_dim) {
        if (config_.qk_norm && !config_.joint_qk_norm) rms_norm(head, gain);
        for (int64_t i = 0; i < half; ++i) {
          const double divisor = rope.divisors.empty() ? 1 : rope.divisors[size_t(i)];
          const double turn = double(std::min(int64_t(t), last)) *
                              std::pow(rope.theta, -2.0 * double(i) / double(rope.dims)) / divisor;
          const double a = head[i] * rope.scale, b = head[i + half] * rope.scale;
          head[i] = a * std::cos(turn) - b * std::sin(turn);
          head[i + half] = b * std::cos(turn) + a * std::sin(turn);
        }
      }
    }
    return x;
  }

  Matrix attention(const Matrix& input, int64_t layer) const {
    const LayerShape& shape = config_.layers[size_t(layer)];
    const auto site = [&](const char* part) { return layer_site(layer, part); };
    const bool own = shape.window > 0 && (!reach_.limited() || shape.window <= reach_.window);
    const Reach reach = own ? Reach{.window = shape.window} : reach_;
    const Matrix plain = linear(input, site("attn.q_proj"));
    const Matrix q = rotated(plain, shape, site("attn.q_norm"));
    const Matrix of_sinks = rotated(plain, shape, site("attn.q_norm"), reach.tokens() - 1);
    const Matrix k = rotated(linear(input, site("attn.k_proj")), shape, site("attn.k_norm"));
    const Matrix v = linear(input, site("attn.v_proj"));
    Matrix mixed(input.size(), Row(size_t(shape.heads * shape.head_dim)));
    for (size_t t = 0; t < input.size(); ++t)
      for (int64_t h = 0; h < shape.heads; ++h) attend(shape, reach, q[t], of_sinks[t], k, v, t, h, mixed[t]);
    return linear(mixed, site("attn.o_proj"));
  }

  void attend(const LayerShape& shape, const Reach& reach, const Row& q, const Row& of_sinks, const Matrix& k,
              const Matrix& v, size_t t, int64_t head, Row& out) const {
    const size_t d = size_t(shape.head_dim), from = size_t(head) * d;
    const size_t kv = size_t(head / (shape.heads / shape.kv_heads)) * d;
    const auto window = size_t(reach.window), sinks = size_t(reach.sinks);
    Row weights;
    double sum = 0;
    for (size_t p = 0; p <= t; ++p) {
      const bool within = window == 0 || p + window > t;
      const Row& query = within ? q : of_sinks;
      double dot = 0;
      for (size_t i = 0; i < d; ++i) dot += query[from + i] * k[p][kv + i];
      const double score = capped(dot * attention_scale_of(config_, shape), config_.attention_soft_cap);
      weights.push_back(within || p < sinks ? std::exp(score)
                                            : 0);  // double needs no shift by the maximum here
      sum += weights.back();
    }
    for (size_t p = 0; p <= t; ++p)
      for (size_t i = 0; i < d; ++i) out[from + i] += weights[p] / sum * v[p][kv + i];
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const Reach reach_;
};

}  // namespace edgeq
