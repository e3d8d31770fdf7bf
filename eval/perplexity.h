// SPDX-License-Identifier: Apache-2.0
// Perplexity of a model and its divergence from a reference on the same windows, computed side by side
// without storing logits. Protocol: non-overlapping windows of `length` tokens from the start of the text, no
// BOS, each window from an empty cache. Prediction i of a window (of token i+1, i = 0 .. length-2) belongs to
// the second half when i >= length/2. `perplexity` and all divergence figures are over the second half;
// `perplexity_all` is over all predictions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/progress.h"
#include "models/corpus.h"
#include "models/language_model.h"

namespace edgeq {

struct Divergence {
  double kl_mean = 0, kl_median = 0, kl_p99 = 0, kl_max = 0;  // KL(reference || model) per prediction, nats
  double kl_standard_error = 0;                               // of the mean
  double top1_agreement = 0;  // share of predictions with the same argmax, 0..1
  std::vector<float> kl;      // every scored prediction, in order (for the picture)
};

struct TextQuality {
  int64_t windows = 0, window_tokens = 0, predictions = 0;  // predictions: scored ones
  double perplexity = 0, perplexity_all = 0;
  double perplexity_standard_error = 0;
  double reference_perplexity = 0, reference_perplexity_all = 0;  // 0 without a reference
  std::optional<Divergence> divergence;
};

// `reference` may be nullptr. Vocabularies must be equal (Error with both sizes).
TextQuality measure_text_quality(const LanguageModel& model, const LanguageModel* reference,
                                 const Windows& windows, const Progress& progress);

}  // namespace edgeq
