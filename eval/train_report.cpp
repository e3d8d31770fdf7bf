// SPDX-License-Identifier: Apache-2.0
#include "eval/train_report.h"

#include <fmt/format.h>

namespace edgeq {

double watched(const TrainReport& report, const HeldoutLook& look) {
  return report.teacher_log_loss > 0 ? look.kl : look.log_loss;
}

std::string train_summary(const TrainReport& report) {
  std::string text;
  if (report.looks.empty()) {
    text = "nothing was held out";
  } else {
    const HeldoutLook &start = report.looks.front(), &kept = report.looks[size_t(report.kept)];
    const std::string what = report.teacher_log_loss > 0 ? "KL" : "loss";
    text = report.kept == 0
               ? fmt::format("nothing better than the start on held-out text: {} {:.4f} stays", what,
                             watched(report, start))
               : fmt::format("held-out {} {:.4f} -> {:.4f} at step {} of {}", what, watched(report, start),
                             watched(report, kept), kept.step, report.steps);
    if (report.teacher_log_loss > 0)
      text += fmt::format(", loss {:.4f} -> {:.4f} (teacher {:.4f})", start.log_loss, kept.log_loss,
                          report.teacher_log_loss);
  }
  text += fmt::format(", {} tokens, {:.0f} tokens/s", report.tokens, report.tokens_per_second());
  if (!report.stopped.empty()) text += fmt::format("; stopped: {}", report.stopped);
  return text;
}

}  // namespace edgeq
