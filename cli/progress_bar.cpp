// SPDX-License-Identifier: Apache-2.0
#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "core/text.h"

namespace edgeq {
namespace {

constexpr int kBarCells = 30;

}  // namespace

ProgressBar::ProgressBar(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0) {}
ProgressBar::~ProgressBar() { finish_line(); }

Progress ProgressBar::callback() {
  return [this](std::string_view step, int64_t done, int64_t total) { update(step, done, total); };
}

void ProgressBar::finish_line() {
  if (open_) std::fputc('\n', stderr);
  open_ = false;
}

void ProgressBar::update(std::string_view step, int64_t done, int64_t total) {
  if (quiet_ || total <= 0) return;
  if (step != step_ || done < first_) {
    finish_line();
    step_ = step;
    first_ = done > 0 ? done - 1 : 0;
    shown_tenth_ = -1;
    // The first report comes after the first unit, so the clock of a step starts where the previous step
    // ended.
  }
  const double spent = timer_.seconds();
  const int64_t finished = std::max<int64_t>(1, done - first_);
  const double left = spent / double(finished) * double(total - done);
  std::string time = done == total ? duration_text(spent) : fmt::format("{} left", duration_text(left));
  if (!detail_.empty()) time += ", " + detail_;
  if (terminal_) {
    const auto filled = size_t(kBarCells * done / total);
    fmt::print(stderr, "\r\x1b[K{:<18} [{}{}] {}/{}  {}", step, std::string(filled, '#'),
               std::string(kBarCells - filled, '.'), done, total, time);
    std::fflush(stderr);
    open_ = true;
  } else if (const int64_t tenth = 10 * done / total; tenth != shown_tenth_) {
    shown_tenth_ = tenth;
    fmt::print(stderr, "{}: {}/{}, {}\n", step, done, total, time);
  }
  if (done == total) {
    finish_line();
    timer_ = Timer();
    step_.clear();
    detail_.clear();
  }
}

}  // namespace edgeq
