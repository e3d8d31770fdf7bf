// SPDX-License-Identifier: Apache-2.0
#include "runtime/speculation.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "runtime/sampler.h"

namespace edgeq {

void SpeculationJudge::plain_step(double seconds) {
  plain_count_ = std::min(plain_count_ + 1, kWindow);
  plain_seconds_ += (seconds - plain_seconds_) / double(plain_count_);
  if (plain_left_ > 0) --plain_left_;
}

void SpeculationJudge::round(double seconds, int64_t tokens) {
  window_seconds_ += seconds;
  window_tokens_ += tokens;
  if (++rounds_ < kWindow) return;
  if (window_seconds_ > plain_seconds_ * double(window_tokens_)) {
    ++failures_;
    plain_left_ = std::exchange(rest_, std::min(2 * rest_, kLongestRest));
    plain_count_ = 0;  // measured anew
  } else {
    rest_ = kFirstRest;
  }
  rounds_ = window_tokens_ = 0;
  window_seconds_ = 0;
}

Speculation::Speculation(Session& session, Drafter& drafter, std::function<double()> clock)
    : session_(session), drafter_(drafter), clock_(std::move(clock)) {
  if (!clock_)
    clock_ = [] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    };
}

std::span<const TokenId> Speculation::next(std::span<const TokenId> text, int64_t most) {
  const double begin = clock_();
  feed_.assign(1, text.back());
  if (judge_.speculates() && most > 1) {
    const auto guess = drafter_.propose(text, std::min(kMostGuesses, most - 1));
    feed_.insert(feed_.end(), guess.begin(), guess.end());
  }
  const int64_t guesses = std::ssize(feed_) - 1;
  const MatrixView<const float> logits = session_.feed(feed_, Logits::all);
  made_.clear();
  while (true) {
    const auto row = std::ssize(made_);
    made_.push_back(best_token({logits.row(row), size_t(logits.cols)}));
    if (row == guesses || made_.back() != feed_[size_t(row + 1)]) break;
  }
  session_.truncate(std::ssize(text) + std::ssize(made_) - 1);
  const double seconds = clock_() - begin;
  if (guesses == 0) {
    judge_.plain_step(seconds);
    ++stats_.plain_steps;
    stats_.plain_seconds += seconds;
  } else {
    judge_.round(seconds, std::ssize(made_));
    ++stats_.rounds;
    stats_.drafted += guesses;
    stats_.accepted += std::ssize(made_) - 1;
    stats_.round_seconds += seconds;
  }
  stats_.off = judge_.gave_up();
  return made_;
}

}  // namespace edgeq
