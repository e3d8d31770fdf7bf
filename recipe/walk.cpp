// SPDX-License-Identifier: Apache-2.0
#include "recipe/walk.h"

#include "calibration/collect.h"
#include "core/parallel.h"
#include "models/names.h"

namespace edgeq {

Walk::Walk(const BlockwiseModel& model, const Windows& windows, const Ends& ends)
    : model_(model), states_(size_t(windows.count())) {
  parallel_for(windows.count(), [&](int64_t i) { states_[size_t(i)] = model.begin(windows[i], ends); });
}

void Walk::enter(const Block& block) {
  parallel_for(int64_t(states_.size()), [&](int64_t i) { model_.enter(block, states_[size_t(i)]); });
}

void Walk::step(const Block& block, int stage) {
  parallel_for(int64_t(states_.size()), [&](int64_t i) { model_.step(block, stage, states_[size_t(i)]); });
}

void Walk::pass(const Block& block) {
  parallel_for(int64_t(states_.size()), [&](int64_t i) {
    State& state = states_[size_t(i)];
    model_.enter(block, state);
    for (int s = 0; s < int(block.stages.size()); ++s) model_.step(block, s, state);
  });
}

void Walk::finish(const Ends& ends) {
  parallel_for(int64_t(states_.size()), [&](int64_t i) { model_.finish(ends, states_[size_t(i)]); });
}

InputStats Walk::stats(unsigned needs) const { return stage_stats(states_, needs); }

std::string stage_name(const Block& block, int stage) {
  return layer_site(block.index, block.stages[size_t(stage)].name);
}

}  // namespace edgeq
