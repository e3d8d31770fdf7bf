// SPDX-License-Identifier: Apache-2.0
#include "eval/tune_report.h"

#include <fmt/format.h>

namespace edgeq {

std::string tune_summary(const TuneReport& report) {
  const HeldoutPoint &start = report.heldout.front(), &kept = report.heldout[size_t(report.kept)];
  std::string text =
      report.kept == 0
          ? fmt::format("tuning ({}) found nothing better on {} held-out windows: KL {:.4f} stays",
                        report.what, report.heldout_windows, start.kl)
          : fmt::format("tuning ({}): KL on {} held-out windows {:.4f} -> {:.4f} at step {} of {}",
                        report.what, report.heldout_windows, start.kl, kept.kl, kept.step, report.steps);
  if (!report.stopped.empty())
    text += fmt::format("; stopped after {}: {}", report.train.size(), report.stopped);
  return text;
}

}  // namespace edgeq
