// SPDX-License-Identifier: Apache-2.0
// Causal self-attention of one sequence with grouped heads: rotary positions (Su et al., arXiv 2104.09864, in
// half-split order) and softmax(cap(scale * q k^T)) v, with an optional sliding window and an optional soft
// cap of the scores (ModelConfig). Every operation is differentiable.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "models/config.h"

namespace edgeq {

// Runs body(i) for i in [0, count) through parallel_for, or one after another while autograd records (what it
// records belongs to the calling thread) or when `multiply_adds`, of all of them together, are too few to pay
// for waking threads. How work is cut must not depend on the number of threads: then results do not either.
void for_each_slice(int64_t count, int64_t multiply_adds, const std::function<void(int64_t)>& body);

// Rotates heads by their position. Thread-safe.
class Rotary {
 public:
  explicit Rotary(Rope rope);
  const Rope& rope() const { return rope_; }
  // x [tokens, heads, head_dim]; token t stands at position first + t. Dimensions past rope().dims stay.
  at::Tensor rotate(const at::Tensor& x, int64_t first) const;

 private:
  // cos and sin of the angles of positions 0 .. n-1: [n, 1, dims/2] each.
  struct Table {
    at::Tensor cos, sin;
  };
  Table table(int64_t positions) const;

  Rope rope_;
  std::vector<double> frequencies_;
  mutable std::mutex mutex_;
  mutable Table table_;  // grown on demand, to a power of two
};

// What is done to the scores q . k before the softmax.
struct ScoreOptions {
  double scale = 1;
  double soft_cap = 0;  // 0: none
  int64_t window = 0;   // 0: all tokens before are seen
};

// q [tokens, heads, head_dim]; keys, values [kv_heads, total, head_dim] with total >= tokens: the queries are
// the last tokens of the sequence. A query sees its own token and those before it; with window > 0 only the
// last `window` of them, its own included. Returns [tokens, heads * head_dim].
at::Tensor attend(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                  const ScoreOptions& options);

// cap * tanh(x / cap).
at::Tensor soft_cap(const at::Tensor& x, double cap);

}  // namespace edgeq
