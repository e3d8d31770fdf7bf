// SPDX-License-Identifier: Apache-2.0
#include "recipe/tuning.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace edgeq {
namespace {

constexpr int64_t kMostOfACount = 1'000'000;
constexpr int64_t kHeldoutShare = 8;  // one of so many windows

Tuning::Scales parse_scales(const std::string& text) {
  if (text == "none") return Tuning::Scales::none;
  if (text == "rows") return Tuning::Scales::rows;
  if (text == "groups") return Tuning::Scales::groups;
  throw Error(fmt::format("scales is \"{}\"; expected groups, rows or none", text));
}

}  // namespace

Tuning make_tuning(const Options& options) {
  return with_context("tune", [&] {
    Tuning tuning;
    tuning.scales = parse_scales(options.text("scales", "groups"));
    tuning.offsets = options.boolean("offsets", tuning.offsets);
    tuning.norms = options.boolean("norms", tuning.norms);
    tuning.rate = options.number("rate", tuning.rate, 1e-7, 0.1);
    tuning.epochs = options.integer("epochs", tuning.epochs, 1, kMostOfACount);
    tuning.batch = options.integer("batch", tuning.batch, 1, kMostOfACount);
    tuning.windows = options.integer("windows", tuning.windows, 2, kMostOfACount);
    tuning.heldout = options.integer("heldout", tuning.heldout, 0, kMostOfACount);
    tuning.checks = options.integer("checks", tuning.checks, 1, kMostOfACount);
    tuning.patience = options.integer("patience", tuning.patience, 1, kMostOfACount);
    options.finish();
    if (tuning.scales == Tuning::Scales::none && !tuning.norms)
      throw Error("neither scales nor norms: nothing is left to train");
    if (heldout_windows(tuning) >= tuning.windows)
      throw Error(fmt::format("holds out {} of {} windows; expected one at least to train on", tuning.heldout,
                              tuning.windows));
    return tuning;
  });
}

int64_t heldout_windows(const Tuning& tuning) {
  return tuning.heldout != 0 ? tuning.heldout : std::max<int64_t>(1, tuning.windows / kHeldoutShare);
}

int64_t steps_per_epoch(const Tuning& tuning) {
  return (tuning.windows - heldout_windows(tuning) + tuning.batch - 1) / tuning.batch;
}

std::string tuned_text(const Tuning& tuning) {
  std::vector<std::string> parts;
  if (tuning.scales != Tuning::Scales::none) {
    parts.emplace_back(tuning.scales == Tuning::Scales::rows ? "a scale per row" : "a scale per group");
    if (tuning.offsets) parts.emplace_back("offsets");
  }
  if (tuning.norms) parts.emplace_back("norms");
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace edgeq
