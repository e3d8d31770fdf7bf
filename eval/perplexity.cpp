// SPDX-License-Identifier: Apache-2.0
#include "eval/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "core/cores.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "eval/likelihood.h"
#include "eval/statistics.h"

namespace edgeq {
namespace {

// Tokens fed at a time: bounds the logits held to kPiece x vocabulary for each model.
constexpr int64_t kPiece = 128;

// What one prediction contributes.
struct Prediction {
  double nll = 0, reference_nll = 0;  // -ln p(the token that came)
  float kl = 0;                       // KL(reference || model)
  bool agrees = false;                // same argmax
};

struct RowMaximum {
  float value;
  int64_t at;
};

RowMaximum maximum(const float* logits, int64_t n) {
  const float* top = std::max_element(logits, logits + n);
  return {*top, top - logits};
}

Prediction score(const float* model, const float* reference, int64_t vocab, TokenId next) {
  Prediction result;
  if (reference == nullptr) {
    result.nll = negative_log_likelihood({model, size_t(vocab)}, next);
    return result;
  }
  // KL = sum_i p_i (ln p_i - ln q_i) with ln p_i = r_i - R - ln(sum_r), ln q_i = m_i - M - ln(sum_m): one
  // pass over the row.
  const RowMaximum top = maximum(model, vocab), reference_top = maximum(reference, vocab);
  double sum = 0, reference_sum = 0, weighted = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    const float r = reference[i] - reference_top.value, m = model[i] - top.value;
    const double p = std::exp(r);
    sum += std::exp(m);
    reference_sum += p;
    weighted += p * (double(r) - double(m));
  }
  const double log_sum = std::log(sum), log_reference_sum = std::log(reference_sum);
  result.nll = log_sum - (double(model[next]) - top.value);
  result.reference_nll = log_reference_sum - (double(reference[next]) - reference_top.value);
  // Rounding can leave a tiny negative value where both distributions are the same.
  result.kl = float(std::max(0.0, weighted / reference_sum - log_reference_sum + log_sum));
  result.agrees = top.at == reference_top.at;
  return result;
}

// Rows are independent; each thread takes every n-th.
void score_rows(MatrixView<const float> model, MatrixView<const float> reference,
                std::span<const TokenId> next, std::span<Prediction> out) {
  const int64_t threads = std::min(16, available_cores());
  std::vector<std::jthread> pool;
  for (int64_t t = 0; t < threads; ++t)
    pool.emplace_back([=] {
      for (int64_t i = t; i < int64_t(next.size()); i += threads)
        out[size_t(i)] = score(model.row(i), reference.data != nullptr ? reference.row(i) : nullptr,
                               model.cols, next[size_t(i)]);
    });
}

void check_finite(const Prediction& p, int64_t window) {
  if (!std::isfinite(p.nll) || !std::isfinite(p.reference_nll) || !std::isfinite(p.kl))
    throw Error(fmt::format("window {}: the model's logits are not finite", window));
}

// All predictions of one window, from empty caches.
std::vector<Prediction> score_window(const LanguageModel& model, const LanguageModel* reference,
                                     std::span<const TokenId> window) {
  const SessionOptions options{.max_tokens = int64_t(window.size())};
  const auto session = model.start(options);
  const auto reference_session = reference != nullptr ? reference->start(options) : nullptr;
  const auto predictions = int64_t(window.size()) - 1;
  std::vector<Prediction> scores(static_cast<size_t>(predictions));
  for (int64_t begin = 0; begin < predictions; begin += kPiece) {
    check_interrupt();
    const auto count = size_t(std::min(kPiece, predictions - begin));
    const auto tokens = window.subspan(size_t(begin), count);
    const MatrixView<const float> logits = session->feed(tokens, Logits::all);
    const MatrixView<const float> expected = reference_session != nullptr
                                                 ? reference_session->feed(tokens, Logits::all)
                                                 : MatrixView<const float>();
    score_rows(logits, expected, window.subspan(size_t(begin + 1), count),
               std::span(scores).subspan(size_t(begin), count));
  }
  return scores;
}

// Linear interpolation between order statistics, as NumPy's default.
double quantile(std::span<const float> sorted, double q) {
  const double at = q * double(sorted.size() - 1);
  const auto low = size_t(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - double(low)) * (double(sorted[high]) - sorted[low]);
}

Divergence summarize(const std::vector<float>& kl, int64_t agreeing) {
  Divergence d;
  d.kl = kl;
  const std::vector<double> wide(kl.begin(), kl.end());
  d.kl_mean = mean(wide);
  d.kl_standard_error = standard_error(wide);
  std::vector<float> sorted = kl;
  std::sort(sorted.begin(), sorted.end());
  d.kl_median = quantile(sorted, 0.5);
  d.kl_p99 = quantile(sorted, 0.99);
  d.kl_max = sorted.back();
  d.top1_agreement = double(agreeing) / double(kl.size());
  return d;
}

}  // namespace

TextQuality measure_text_quality(const LanguageModel& model, const LanguageModel* reference,
                                 const Windows& windows, const Progress& progress) {
  if (reference != nullptr && reference->config().vocab != model.config().vocab)
    throw Error(fmt::format("the model has {} tokens and the reference {}; expected the same vocabulary",
                            model.config().vocab, reference->config().vocab));
  if (windows.count() == 0 || windows.length < 4)
    throw Error(fmt::format("{} windows of {} tokens; expected at least one of at least 4", windows.count(),
                            windows.length));
  std::vector<double> nll, nll_all, reference_nll, reference_nll_all;
  std::vector<float> kl;
  int64_t agreeing = 0;
  for (int64_t w = 0; w < windows.count(); ++w) {
    const std::vector<Prediction> scores = score_window(model, reference, windows[w]);
    for (int64_t i = 0; i < int64_t(scores.size()); ++i) {
      const Prediction& p = scores[size_t(i)];
      check_finite(p, w);
      nll_all.push_back(p.nll);
      reference_nll_all.push_back(p.reference_nll);
      if (i < windows.length / 2) continue;
      nll.push_back(p.nll);
      reference_nll.push_back(p.reference_nll);
      kl.push_back(p.kl);
      agreeing += p.agrees ? 1 : 0;
    }
    report_progress(progress, "perplexity", w + 1, windows.count());
  }
  TextQuality quality;
  quality.windows = windows.count();
  quality.window_tokens = windows.length;
  quality.predictions = int64_t(nll.size());
  quality.perplexity = std::exp(mean(nll));
  quality.perplexity_all = std::exp(mean(nll_all));
  quality.perplexity_standard_error = quality.perplexity * standard_error(nll);
  if (reference != nullptr) {
    quality.reference_perplexity = std::exp(mean(reference_nll));
    quality.reference_perplexity_all = std::exp(mean(reference_nll_all));
    quality.divergence = summarize(kl, agreeing);
  }
  return quality;
}

}  // namespace edgeq
