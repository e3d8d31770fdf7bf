// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "models/token.h"

namespace edgeq {

// -ln p(next) of the softmax over one row of logits, summed in double; not finite when the logits are not.
double negative_log_likelihood(std::span<const float> logits, TokenId next);

// KL(reference || model) of the softmaxes of two rows of logits, in nats. `model` becomes its gradient with
// respect to the model's logits: their softmax less the reference's.
double divergence_gradient(std::span<const float> reference, std::span<float> model);

}  // namespace edgeq
