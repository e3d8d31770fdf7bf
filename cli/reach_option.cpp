// SPDX-License-Identifier: Apache-2.0
#include "cli/reach_option.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>

namespace edgeq {

void add_reach_options(CLI::App& command, ReachArgs& args) {
  CLI::Option* window =
      command
          .add_option(
              "--window", args.window,
              "tokens see the last so many tokens and the first --sinks, whatever lies between is\n"
              "forgotten: memory is bounded, and text may be longer than the model's context; default: all")
          ->check(CLI::Range(kLeastWindow, int64_t(1) << 30));
  command.add_option("--sinks", args.sinks, "with --window, first tokens that stay in sight")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 30))
      ->needs(window)
      ->capture_default_str();
}

ForgetWarning::ForgetWarning(const Reach& reach, const ModelConfig& config)
    : reach_(reach), due_(reach.limited() && std::ranges::any_of(config.layers, [&](const LayerShape& layer) {
                            return layer.window == 0 || layer.window > reach.window;
                          })) {}

void ForgetWarning::at(int64_t tokens) {
  if (!due_ || tokens <= reach_.tokens()) return;
  due_ = false;
  // On a terminal it stands amid the text.
  fmt::print(
      stderr,
      "{}warning: the text is longer than {} tokens: from here on {} are seen and the rest is forgotten\n",
      isatty(STDERR_FILENO) != 0 ? "\n" : "", reach_.tokens(), reach_text(reach_));
}

}  // namespace edgeq
