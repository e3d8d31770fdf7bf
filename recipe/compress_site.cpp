// SPDX-License-Identifier: Apache-2.0
#include "recipe/compress_site.h"

#include <algorithm>

#include "core/error.h"
#include "quantizers/output_error.h"

namespace edgeq {

void restore_site(const SiteResult& result, Site& site) {
  if (result.quantized) {
    dequantize_into(*result.quantized, site.weight.matrix());
  } else {
    site.weight = to_f32(result.kept.view());
  }
}

SiteResult compress_site(const SitePlan& plan, Site& site, const InputStats& stats) {
  return with_context(site.name, [&] {
    SiteResult result{.name = site.name, .bias = site.bias};
    SiteReport& report = result.report;
    report = {
        .name = site.name, .method = plan.method, .rows = plan.rows, .cols = plan.cols, .bytes = plan.bytes};
    report.tokens = stats.tokens;
    report.calibrated = stats.tokens > 0;
    Tensor target = site.weight;
    if (plan.keep) {
      report.scheme = dtype_name(*plan.keep);
      result.kept = from_f32(site.weight, *plan.keep);
    } else {
      report.scheme = scheme_text(plan.scheme);
      if (plan.correction) {
        CorrectedWeight corrected = correct_weight(site.weight.matrix(), stats, *plan.correction);
        report.damping_raises = corrected.damping_raises;
        target = std::move(corrected.target);
        report.correction = output_error(site.weight.matrix(), target.matrix(), stats).relative;
      }
      QuantizeResult quantized = plan.quantizer->quantize(target.matrix(), stats);
      report.damping = quantized.notes.damping;
      report.damping_raises += quantized.notes.damping_raises;
      report.dead_columns = quantized.notes.dead_columns;
      for (const auto& refiner : plan.refiners) refiner->refine(quantized.weight, target.matrix(), stats);
      result.quantized = std::move(quantized.weight);
    }
    restore_site(result, site);
    report.relative_error = output_error(target.matrix(), site.weight.matrix(), stats).relative;
    return result;
  });
}

InputStats unit_stats(int64_t width, unsigned needs) {
  InputStats stats;
  stats.abs_max = stats.mean = stats.square_mean = Tensor(DType::f32, {width});
  std::fill_n(stats.abs_max.f32(), width, 1.0f);
  std::fill_n(stats.square_mean.f32(), width, 1.0f);
  if (needs & kNeedHessian) {
    stats.hessian = Tensor(DType::f32, {width, width});
    for (int64_t i = 0; i < width; ++i) stats.hessian.f32()[i * width + i] = 1.0f;
  }
  return stats;
}

}  // namespace edgeq
