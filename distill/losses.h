// SPDX-License-Identifier: Apache-2.0
// The losses of a training (distill/spec.h) and their gradients. Divergences between distributions have
// closed forms: with q = softmax(z / T) and D(p, q),
//   dD/dz = q (g - sum q g) / T,   g = dD/dq up to a constant
//   forward_kl         q g = -p                     reverse_kl          g = log q - log p
//   js                 g = (1 - b) (log q - log m)  skewed_kl           g = -(1 - a) p / m
//   skewed_reverse_kl  g = log q - log m - a q / m
// so that no graph of [tokens, vocab] tensors is kept. Matching of what lies inside goes through autograd.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <span>

#include "distill/spec.h"
#include "models/token.h"

namespace edgeq {

// The sum over rows of T^2 D(p, q), in nats; `factor` times its gradient is added to `gradient`. logits,
// gradient [rows, vocab of the student]; teacher [rows, vocab of the teacher]. Both distributions are over
// the first `common` tokens.
double add_divergence(const LossTerm& term, const at::Tensor& logits, const at::Tensor& teacher,
                      int64_t common, double factor, at::Tensor gradient);

// The sum over rows of -log q(next), next [rows].
double add_cross_entropy(const at::Tensor& logits, std::span<const TokenId> next, double factor,
                         at::Tensor gradient);

// Without gradients, of held-out text: summed over rows.
struct Divergence {
  double kl = 0;            // KL(p | q) at temperature 1
  double log_loss = 0;      // of the student
  double teacher_loss = 0;  // of the teacher
};
Divergence measure(const at::Tensor& logits, const at::Tensor& teacher, int64_t common,
                   std::span<const TokenId> next);

// For sums over rows of logits: the rows that go through together, so that what they need beside their logits
// stays in the cache of a core; and the sum of all values, in double.
int64_t rows_at_once(const at::Tensor& logits);
double total(const at::Tensor& values);

// Differentiable, summed over tokens. projection [student's width, teacher's width].
at::Tensor hidden_loss(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& projection);
// student [tokens, any width that `heads` divides], teacher the same: KL of each token's relations to those
// up to it, mean over relation heads.
at::Tensor relation_loss(const at::Tensor& student, const at::Tensor& teacher, int64_t heads);

}  // namespace edgeq
