// SPDX-License-Identifier: Apache-2.0
// Text that a model writes itself, to calibrate on when no text of the right kind is at hand. Windows begin
// in turn with BOS alone (or the token that ends a text, where the model has none) and with a token drawn
// from the whole vocabulary, which sends the model to places that its likeliest beginnings never reach; the
// rest is drawn from the model's own distribution. Deterministic: window i draws from a generator of its own.
#pragma once

#include <cstdint>
#include <string>

#include "cli/progress_bar.h"
#include "models/corpus.h"
#include "models/import.h"

namespace edgeq {

constexpr double kSelfTemperature = 1, kSelfTopP = 0.98;

// `count` windows of `length` tokens (at least 2) by the float model of a checkpoint, on the runtime. What
// was written before is kept in `folder` and read from there by a run that goes on. Throws Error,
// Interrupted.
Windows self_windows(const Checkpoint& checkpoint, int64_t count, int64_t length, const std::string& folder,
                     int threads, const Progress& progress);

}  // namespace edgeq
