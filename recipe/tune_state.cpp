// SPDX-License-Identifier: Apache-2.0
#include "recipe/tune_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/error.h"

namespace edgeq {
namespace {

std::vector<float> values_of(const PartResult& part, std::string_view name) {
  const Tensor* found = part.find_vector(name);
  return found == nullptr ? std::vector<float>() : numbers_of<float>(*found);
}

}  // namespace

TuneState::TuneState(int64_t count)
    : factors(size_t(count), 0.0f), best(factors), mean(factors), square(factors) {}

TuneState::TuneState(const PartResult& part, int64_t count)
    : factors(values_of(part, "factors")),
      best(values_of(part, "best")),
      mean(values_of(part, "mean")),
      square(values_of(part, "square")),
      train(values_of(part, "train")) {
  const std::vector<float> steps = values_of(part, "heldout_steps"), kl = values_of(part, "heldout_kl");
  const std::vector<float> flags = values_of(part, "flags");
  const auto whole = [&](const std::vector<float>& values) { return std::ssize(values) == count; };
  if (!whole(factors) || !whole(best) || !whole(mean) || !whole(square) || flags.size() != 2 || kl.empty() ||
      steps.size() != kl.size() || !(flags[0] >= 0 && flags[0] < float(kl.size())))
    throw Error(fmt::format("the journal's part {} is not of a training of {} numbers", part.part, count));
  for (size_t i = 0; i < kl.size(); ++i) heldout.push_back({int64_t(steps[i]), kl[i]});
  kept = int64_t(flags[0]);
  stop = TuneStop(int(flags[1]));
}

void TuneState::measured(float kl, int64_t patience) {
  heldout.push_back({steps(), kl});
  const int64_t last = std::ssize(heldout) - 1;
  if (last == 0 || kl < heldout[size_t(kept)].kl) {  // never where it is no number
    kept = last;
    best = factors;
  } else if (last - kept >= patience) {
    stop = TuneStop::patience;
  }
}

PartResult TuneState::as_part(const std::string& name) const {
  std::vector<float> at, kl;
  for (const HeldoutPoint& point : heldout) at.push_back(float(point.step)), kl.push_back(point.kl);
  PartResult part{.part = name, .sites = {}, .vectors = {}};
  part.vectors = {named_numbers("factors", factors),
                  named_numbers("best", best),
                  named_numbers("mean", mean),
                  named_numbers("square", square),
                  named_numbers("heldout_steps", at),
                  named_numbers("heldout_kl", kl),
                  named_numbers("flags", std::vector{float(kept), float(int(stop))})};
  if (!train.empty()) part.vectors.push_back(named_numbers("train", train));
  return part;
}

}  // namespace edgeq
