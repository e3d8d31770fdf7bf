// SPDX-License-Identifier: Apache-2.0
// --window and --sinks: what a token attends to (runtime/reach.h), and the warning of what is forgotten.
#pragma once

#include <cstdint>

#include "models/config.h"
#include "runtime/reach.h"

namespace CLI {  // NOLINT(readability-identifier-naming): not ours to name
class App;
}

namespace edgeq {

// Options of a command; sinks count only where there is a window.
struct ReachArgs {
  int64_t window = 0, sinks = 4;
  Reach reach() const { return window == 0 ? Reach{} : Reach{.window = window, .sinks = sinks}; }
};
void add_reach_options(CLI::App& command, ReachArgs& args);

// Says on stderr, once, that a text has become longer than what its next token sees. Nothing where every
// layer has a window of its own that is no larger.
class ForgetWarning {
 public:
  ForgetWarning(const Reach& reach, const ModelConfig& config);
  void at(int64_t tokens);  // of the text so far

 private:
  Reach reach_;
  bool due_;
};

}  // namespace edgeq
