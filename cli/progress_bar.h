// SPDX-License-Identifier: Apache-2.0
// Progress for people: one line that is redrawn on a terminal, a plain line at each tenth otherwise. Written
// to stderr, so that stdout carries results only.
#pragma once

#include <string>
#include <utility>

#include "core/progress.h"
#include "core/timer.h"

namespace edgeq {

class ProgressBar {
 public:
  explicit ProgressBar(bool quiet);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // The callback to hand to a library; valid as long as the bar.
  Progress callback();
  // What is said behind the time from now on, until the step ends: "KL 1.23".
  void set_detail(std::string detail) { detail_ = std::move(detail); }
  // Ends the line being drawn, so that other output starts on a fresh one.
  void finish_line();

 private:
  void update(std::string_view step, int64_t done, int64_t total);

  bool quiet_, terminal_, open_ = false;
  std::string step_, detail_;
  Timer timer_;
  int64_t first_ = 0;  // units done when the step was first heard of: a resumed run does not count them
  int64_t shown_tenth_ = -1;
};

}  // namespace edgeq
