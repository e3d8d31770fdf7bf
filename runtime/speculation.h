// SPDX-License-Identifier: Apache-2.0
// Greedy decoding several tokens at a time: a drafter guesses, one feed checks all guesses, and those that
// the model would have chosen itself are kept, with the token that comes after them. A token's logits do not
// depend on the feed it came in, so the text is that of plain greedy decoding, whatever the guesses.
//
// Guessing is worth its time only where enough guesses are right. Both ways are timed, and the slower one
// rests.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/language_model.h"
#include "runtime/drafter.h"

namespace edgeq {

// Which way of decoding to go next. Begins with kTrial plain steps to know what one costs; then speculates as
// long as the mean of the last kWindow rounds is less time a token than a plain step; else goes plain for
// a while, twice as long after each failure, up to kLongestRest tokens, and tries again.
class SpeculationJudge {
 public:
  static constexpr int64_t kTrial = 4, kWindow = 8, kFirstRest = 32, kLongestRest = 1024;

  bool speculates() const { return plain_left_ == 0; }
  void plain_step(double seconds);
  // One round: drafting and checking gave so many tokens.
  void round(double seconds, int64_t tokens);
  double plain_seconds() const { return plain_seconds_; }  // of one token
  bool gave_up() const { return failures_ > 0 && !speculates(); }

 private:
  int64_t plain_left_ = kTrial, rest_ = kFirstRest, failures_ = 0;
  double plain_seconds_ = 0;  // running mean of about the last kWindow
  int64_t plain_count_ = 0;
  int64_t rounds_ = 0, window_tokens_ = 0;  // since the last judgement
  double window_seconds_ = 0;
};

struct SpeculationStats {
  int64_t plain_steps = 0, rounds = 0;  // rounds: checks of at least one guess
  int64_t drafted = 0, accepted = 0;    // guesses
  double plain_seconds = 0, round_seconds = 0;
  bool off = false;  // it was slower when it was tried last
};

class Speculation {
 public:
  // Guesses checked at once, at most: one forward pass over 5 rows.
  static constexpr int64_t kMostGuesses = 4;

  // Both outlive it. `clock` gives seconds; empty: a monotonic clock.
  Speculation(Session& session, Drafter& drafter, std::function<double()> clock = {});

  // The next tokens, 1 to `most`, after `text`, all of which but the last token the session has. Afterwards
  // it has all but the last of the text with these. Valid until the next call.
  std::span<const TokenId> next(std::span<const TokenId> text, int64_t most);
  const SpeculationStats& stats() const { return stats_; }

 private:
  Session& session_;
  Drafter& drafter_;
  std::function<double()> clock_;
  SpeculationJudge judge_;
  SpeculationStats stats_;
  std::vector<TokenId> feed_, made_;
};

}  // namespace edgeq
