// SPDX-License-Identifier: Apache-2.0
// What of its past a token attends to, of any model: the first `sinks` tokens and the last `window`, its own
// included (Xiao et al., "Efficient Streaming Language Models with Attention Sinks", 2024, arXiv 2309.17453).
// The softmax gives the first tokens whatever it has no other use for, so that a model without them falls
// apart; with them, and with positions counted within what is seen, it goes on for as long as one likes.
//
// Token t < window + sinks sees all before it, and its logits are those of full attention. A later one sees
// (t - window, t] as they are, and [0, sinks) as a query at position window + sinks - 1 would: as if what is
// seen lay side by side. Keys stay as they were rotated; the query is rotated once for each of the two.
// A layer whose own window (models/config.h) is no larger keeps to that one.
#pragma once

#include <cstdint>
#include <string>

#include "models/config.h"

namespace edgeq {

struct Reach {
  int64_t window = 0, sinks = 0;  // window 0: all, and no sinks

  bool limited() const { return window != 0; }
  int64_t tokens() const { return window + sinks; }  // that a token sees at most, where it is limited
  friend bool operator==(const Reach&, const Reach&) = default;
};

constexpr int64_t kLeastWindow = 16;

// Throws Error for a window below kLeastWindow, for sinks below 0 or without a window, and where both
// together are more than the model's context.
void check_reach(const Reach& reach, const ModelConfig& config);

// Of a layer of a model that has `reach` on the whole.
Reach reach_of(const LayerShape& layer, const Reach& reach);

// Tokens that a sequence can have: the context, or far more where no token sees further back than `reach` and
// positions are not a table of the model's.
int64_t longest_sequence(const ModelConfig& config, const Reach& reach);

// "all", "the last 64", "the first 4 and the last 64".
std::string reach_text(const Reach& reach);

}  // namespace edgeq
