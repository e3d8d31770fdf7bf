// SPDX-License-Identifier: Apache-2.0
// forward_kl from what is kept of a teacher (distill/teacher_rows.h) in place of all of p, with q the
// student's softmax:
//   top_k     KL of the kept tokens and all others as one, whose masses are t and r = 1 - sum_kept q:
//               D = sum_kept p log(p / q) + t log(t / r)
//               dD/dz = q - p of a kept token, q (1 - t / r) of another
//             KL(p, q) less what it is within the others; all of it where all tokens are kept.
//   samples   cross entropy with the draws w: D = -sum w log q, dD/dz = q - w. Over the draws its mean is the
//             cross entropy with p, so the gradient's mean is that of KL(p, q).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "distill/teacher_rows.h"

namespace edgeq {

// The sum over rows of D, in nats; `factor` times its gradient is added to `gradient`. logits, gradient
// [rows, vocab of the student], of which the first `common` tokens count.
double add_kept_divergence(const TeacherRows& kept, TeacherKind kind, const at::Tensor& logits,
                           int64_t common, double factor, at::Tensor gradient);

}  // namespace edgeq
