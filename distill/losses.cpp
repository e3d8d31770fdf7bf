// SPDX-License-Identifier: Apache-2.0
#include "distill/losses.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace edgeq {
namespace {

at::Tensor ids_of(std::span<const TokenId> tokens) {
  return at::from_blob(const_cast<TokenId*>(tokens.data()), {int64_t(tokens.size())}, at::kInt).to(at::kLong);
}

// sum p (lp - lr) where p = exp(lp): terms with p = 0 are 0 whatever lr is.
double kl_sum(const at::Tensor& p, const at::Tensor& lp, const at::Tensor& lr) {
  return total(p * (lp - lr));
}

at::Tensor log_mix(const at::Tensor& lp, double of_p, const at::Tensor& lq, double of_q) {
  return at::logaddexp(lp + std::log(of_p), lq + std::log(of_q));
}

struct Slope {
  double loss = 0;
  at::Tensor logits;  // dD/dz times the temperature
};

at::Tensor through_softmax(const at::Tensor& q, const at::Tensor& g) {
  return q * (g - at::sum(q * g, -1, true));
}

Slope slope_of(const LossTerm& term, const at::Tensor& lp, const at::Tensor& lq) {
  const at::Tensor p = lp.exp(), q = lq.exp();
  const double a = term.mix;
  switch (term.kind) {
    case LossKind::forward_kl: return {kl_sum(p, lp, lq), q - p};
    case LossKind::reverse_kl: return {kl_sum(q, lq, lp), through_softmax(q, lq - lp)};
    case LossKind::js: {
      const at::Tensor lm = log_mix(lp, a, lq, 1 - a);
      return {a * kl_sum(p, lp, lm) + (1 - a) * kl_sum(q, lq, lm), through_softmax(q, (1 - a) * (lq - lm))};
    }
    case LossKind::skewed_kl: {
      const at::Tensor lm = log_mix(lp, a, lq, 1 - a);
      return {kl_sum(p, lp, lm), through_softmax(q, (a - 1) * (lp - lm).exp())};
    }
    case LossKind::skewed_reverse_kl: {
      const at::Tensor lm = log_mix(lq, a, lp, 1 - a);
      return {kl_sum(q, lq, lm), through_softmax(q, lq - lm - a * (lq - lm).exp())};
    }
    default: break;
  }
  return {};
}

}  // namespace

// A third less time than 32 rows of 49152 logits take.
int64_t rows_at_once(const at::Tensor& logits) {
  constexpr int64_t kNumbers = 1 << 17, kMost = 32;
  return std::clamp<int64_t>(kNumbers / std::max<int64_t>(logits.size(1), 1), 1, kMost);
}

double total(const at::Tensor& values) { return at::sum(values, at::kDouble).item<double>(); }

double add_divergence(const LossTerm& term, const at::Tensor& logits, const at::Tensor& teacher,
                      int64_t common, double factor, at::Tensor gradient) {
  const c10::AutoGradMode off(false);
  const double t = term.temperature;
  double loss = 0;
  const int64_t rows = rows_at_once(logits);
  for (int64_t first = 0; first < logits.size(0); first += rows) {
    const int64_t count = std::min(rows, logits.size(0) - first);
    const auto log_softmax = [&](const at::Tensor& z) {
      return at::log_softmax(z.narrow(0, first, count).narrow(1, 0, common) / t, -1);
    };
    const Slope slope = slope_of(term, log_softmax(teacher), log_softmax(logits));
    loss += t * t * slope.loss;
    gradient.narrow(0, first, count).narrow(1, 0, common).add_(slope.logits, factor * t);
  }
  return loss;
}

double add_cross_entropy(const at::Tensor& logits, std::span<const TokenId> next, double factor,
                         at::Tensor gradient) {
  const c10::AutoGradMode off(false);
  double loss = 0;
  const int64_t rows = rows_at_once(logits);
  for (int64_t first = 0; first < logits.size(0); first += rows) {
    const int64_t count = std::min(rows, logits.size(0) - first);
    const at::Tensor lq = at::log_softmax(logits.narrow(0, first, count), -1);
    const at::Tensor ids = ids_of(next.subspan(size_t(first), size_t(count))).unsqueeze(1);
    loss -= total(lq.gather(1, ids));
    at::Tensor slice = gradient.narrow(0, first, count);
    slice.add_(lq.exp(), factor);
    slice.scatter_add_(1, ids, at::full({count, 1}, -factor, at::kFloat));
  }
  return loss;
}

Divergence measure(const at::Tensor& logits, const at::Tensor& teacher, int64_t common,
                   std::span<const TokenId> next) {
  const c10::AutoGradMode off(false);
  Divergence sum;
  const int64_t rows = rows_at_once(logits);
  for (int64_t first = 0; first < logits.size(0); first += rows) {
    const int64_t count = std::min(rows, logits.size(0) - first);
    const at::Tensor ids = ids_of(next.subspan(size_t(first), size_t(count))).unsqueeze(1);
    const at::Tensor z = logits.narrow(0, first, count);
    sum.log_loss -= total(at::log_softmax(z, -1).gather(1, ids));
    if (!teacher.defined()) continue;
    const at::Tensor y = teacher.narrow(0, first, count);
    sum.teacher_loss -= total(at::log_softmax(y, -1).gather(1, ids));
    const at::Tensor lp = at::log_softmax(y.narrow(1, 0, common), -1);
    sum.kl += kl_sum(lp.exp(), lp, at::log_softmax(z.narrow(1, 0, common), -1));
  }
  return sum;
}

at::Tensor hidden_loss(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& projection) {
  return at::abs(at::matmul(student, projection) - teacher).mean(-1).sum();
}

at::Tensor relation_loss(const at::Tensor& student, const at::Tensor& teacher, int64_t heads) {
  const int64_t tokens = student.size(0);
  const at::Tensor mask =
      at::full({tokens, tokens}, -std::numeric_limits<float>::infinity(), at::kFloat).triu(1);
  const auto log_relations = [&](const at::Tensor& x) {  // [heads, tokens, tokens]
    const at::Tensor split = x.view({tokens, heads, x.size(1) / heads}).transpose(0, 1);
    const at::Tensor scores =
        at::matmul(split, split.transpose(1, 2)) / std::sqrt(double(split.size(2))) + mask;
    return at::log_softmax(scores, -1);
  };
  const at::Tensor lq = log_relations(student), lp = log_relations(teacher.detach());
  // What is masked is -infinity on both sides: their difference is no number, and counts as 0.
  const at::Tensor seen = mask.eq(0);
  const at::Tensor terms = at::where(seen, lp.exp() * (lp - lq), at::zeros({}, at::kFloat));
  return terms.sum() / double(heads);
}

}  // namespace edgeq
