// SPDX-License-Identifier: Apache-2.0
// The forward pass of a Llama-family decoder written down once more, in double precision and as plainly as
// its formulas: what the engines are held against. No cache: every token looks at all before it.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "models/import.h"
#include "models/names.h"
#include "models/token.h"

namespace edgeq {

class ReferenceForward {
 public:
  using Row = std::vector<double>;
  using Matrix = std::vector<Row>;  // one row per token

  explicit ReferenceForward(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint), config_(checkpoint.config()) {}

  // Logits of every token.
  Matrix operator()(const std::vector<TokenId>& tokens) const {
    Matrix hidden;
    const Tensor table = checkpoint_.load("embedding");
    for (const TokenId token : tokens)
      hidden.emplace_back(table.f32() + token * config_.hidden, table.f32() + (token + 1) * config_.hidden);
    for (int64_t l = 0; l < std::ssize(config_.layers); ++l) {
      add(hidden, attention(normed(hidden, layer_site(l, "attn_norm")), l));
      const Matrix input = normed(hidden, layer_site(l, "mlp_norm"));
      Matrix inner = linear(input, layer_site(l, "mlp.gate_proj"));
      const Matrix up = linear(input, layer_site(l, "mlp.up_proj"));
      for (size_t t = 0; t < inner.size(); ++t)
        for (size_t i = 0; i < up[t].size(); ++i) inner[t][i] *= up[t][i] / (1 + std::exp(-inner[t][i]));
      add(hidden, linear(inner, layer_site(l, "mlp.down_proj")));
    }
    return linear(normed(hidden, "final_norm"), config_.tied_head ? "embedding" : "head");
  }

 private:
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

  void norm(double* x, const Tensor& gain) const {
    double squares = 0;
    for (int64_t i = 0; i < gain.size(); ++i) squares += x[i] * x[i];
    const double r = 1 / std::sqrt(squares / double(gain.size()) + config_.norm_epsilon);
    for (int64_t i = 0; i < gain.size(); ++i) x[i] *= r * gain.f32()[i];
  }

  Matrix normed(Matrix x, const std::string& name) const {
    const Tensor gain = checkpoint_.load(name);
    for (Row& row : x) norm(row.data(), gain);
    return x;
  }

  // q or k, ready for the dot product: normed per head where the model does, and rotated.
  Matrix rotated(Matrix x, const LayerShape& shape, const std::string& norm_name) const {
    const Tensor gain = config_.qk_norm ? checkpoint_.load(norm_name) : Tensor();
    const int64_t half = shape.head_dim / 2;
    for (size_t t = 0; t < x.size(); ++t) {
      for (double* head = x[t].data(); head < x[t].data() + x[t].size(); head += shape.head_dim) {
        if (config_.qk_norm) norm(head, gain);
        for (int64_t i = 0; i < half; ++i) {
          const double divisor = config_.rope_divisors.empty() ? 1 : config_.rope_divisors[size_t(i)];
          const double turn =
              double(t) * std::pow(config_.rope_theta, -2.0 * double(i) / double(shape.head_dim)) / divisor;
          const double a = head[i], b = head[i + half];
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
    const Matrix q = rotated(linear(input, site("attn.q_proj")), shape, site("attn.q_norm"));
    const Matrix k = rotated(linear(input, site("attn.k_proj")), shape, site("attn.k_norm"));
    const Matrix v = linear(input, site("attn.v_proj"));
    Matrix mixed(input.size(), Row(size_t(shape.heads * shape.head_dim)));
    for (size_t t = 0; t < input.size(); ++t)
      for (int64_t h = 0; h < shape.heads; ++h) attend(shape, q[t], k, v, t, h, mixed[t]);
    return linear(mixed, site("attn.o_proj"));
  }

  static void attend(const LayerShape& shape, const Row& q, const Matrix& k, const Matrix& v, size_t t,
                     int64_t head, Row& out) {
    const size_t d = size_t(shape.head_dim), from = size_t(head) * d;
    const size_t kv = size_t(head / (shape.heads / shape.kv_heads)) * d;
    const size_t start = shape.window > 0 && t + 1 > size_t(shape.window) ? t + 1 - size_t(shape.window) : 0;
    Row weights;
    double sum = 0;
    for (size_t p = start; p <= t; ++p) {
      double dot = 0;
      for (size_t i = 0; i < d; ++i) dot += q[from + i] * k[p][kv + i];
      weights.push_back(std::exp(dot / std::sqrt(double(d))));  // double needs no shift by the maximum here
      sum += weights.back();
    }
    for (size_t p = start; p <= t; ++p)
      for (size_t i = 0; i < d; ++i) out[from + i] += weights[p - start] / sum * v[p][kv + i];
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
};

}  // namespace edgeq
