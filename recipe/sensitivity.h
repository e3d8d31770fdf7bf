// SPDX-License-Identifier: Apache-2.0
// What each candidate of a site would cost the model, from one pass back through the float model. To second
// order in the change D of one site's weight, with g the gradient at the site's outputs of the likelihood of
// a token drawn from the model's own prediction (so that E g g^T is the Fisher information),
//   KL(float || changed) per token = 1/2 E (sum_r g_r D_r x)^2  ~  1/2 sum_r E(g_r^2) D_r H D_r^T
//   H = E(e x x^T),  e = |g|^2 / E|g|^2
// with rows taken as independent, which rounding errors are, and E(g_r^2 x x^T) as a product (as K-FAC, arXiv
// 1503.05671, with the tokens weighted by their energy). D is what the candidate's own quantizer leaves of
// some rows, drawn in proportion to what they count; the correction for compressed predecessors, which helps
// all candidates alike, is left out. The look-up of an embedding costs 1/2 E sum_c g_c^2 D_tc^2 for token t,
// g being the gradient of the stream that enters the first block; a tied table pays for both.
#pragma once

#include <vector>

#include "core/progress.h"
#include "models/blockwise_model.h"
#include "models/corpus.h"
#include "models/gradients.h"
#include "recipe/journal.h"
#include "recipe/plan.h"

namespace edgeq {

struct SensitivityInputs {
  const Plan& plan;
  const BlockwiseModel& model;
  const BackwardModel& backward;
  const Windows& windows;  // of calibration
};

// KL in nats per token for each site of the plan and each of its candidates; empty for sites that a rule
// decides. Parts that the journal holds ("sensitivity.layers.3") are not measured again; the others are put
// there. Deterministic for any number of threads, and whether or not it was interrupted.
std::vector<std::vector<double>> measure_sensitivities(const SensitivityInputs& in, Journal& journal,
                                                       const Progress& progress);

}  // namespace edgeq
