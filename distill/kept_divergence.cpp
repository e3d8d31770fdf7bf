// SPDX-License-Identifier: Apache-2.0
#include "distill/kept_divergence.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "distill/losses.h"

namespace edgeq {
namespace {

template <class T>
at::Tensor view_of_rows(const std::vector<T>& values, int64_t first, int64_t count, int64_t width,
                        at::ScalarType type) {
  return at::from_blob(const_cast<T*>(values.data()) + first * width, {count, width}, type);
}

}  // namespace

double add_kept_divergence(const TeacherRows& kept, TeacherKind kind, const at::Tensor& logits,
                           int64_t common, double factor, at::Tensor gradient) {
  EDGEQ_CHECK(kept.tokens == logits.size(0), "a row of the teacher for each of the student's");
  const c10::AutoGradMode off(false);
  double loss = 0;
  const int64_t rows = rows_at_once(logits);
  for (int64_t first = 0; first < logits.size(0); first += rows) {
    const int64_t count = std::min(rows, logits.size(0) - first);
    const at::Tensor ids = view_of_rows(kept.ids, first, count, kept.k, at::kInt).to(at::kLong);
    const at::Tensor p = view_of_rows(kept.weights, first, count, kept.k, at::kFloat);
    const at::Tensor lq = at::log_softmax(logits.narrow(0, first, count).narrow(1, 0, common), -1);
    at::Tensor slope = lq.exp();
    loss -= total(p * lq.gather(1, ids));
    if (kind == TeacherKind::samples) {
      slope.scatter_add_(1, ids, -p);
    } else {
      const at::Tensor of_kept = slope.gather(1, ids) - p;
      loss += total(at::xlogy(p, p));
      if (kept.k < common) {
        const at::Tensor tail = view_of_rows(kept.tail, first, count, 1, at::kFloat);
        // A sum of what is left, not 1 less the kept: that would be all rounding where little is left.
        const at::Tensor rest =
            slope.scatter(1, ids, 0).sum(1, true).clamp_min(std::numeric_limits<float>::min());
        loss += total(at::xlogy(tail, tail) - tail * rest.log());
        slope -= tail * (slope / rest);
      }
      slope.scatter_(1, ids, of_kept);
    }
    gradient.narrow(0, first, count).narrow(1, 0, common).add_(slope, factor);
  }
  return loss;
}

}  // namespace edgeq
