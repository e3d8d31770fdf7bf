// SPDX-License-Identifier: Apache-2.0
#include "recipe/walk.h"

#include <utility>

#include "calibration/collect.h"
#include "core/error.h"
#include "core/parallel.h"
#include "models/names.h"
#include "models/round_inputs.h"

namespace edgeq {

Walk::Walk(const BlockwiseModel& model, const Windows& windows, const Ends& ends)
    : model_(model), states_(size_t(windows.count())) {
  parallel_for(windows.count(), [&](int64_t i) { states_[size_t(i)] = model.begin(windows[i], ends); });
}

Walk::Walk(const BlockwiseModel& model, std::vector<Tensor> hidden) : model_(model), states_(hidden.size()) {
  for (size_t w = 0; w < hidden.size(); ++w) states_[w].hidden = std::move(hidden[w]);
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

float Walk::round_inputs(Activations activations, Observer observer) {
  const float scale = activations == Activations::int8_static ? stage_scale(states_, observer) : 0;
  parallel_for(int64_t(states_.size()), [&](int64_t i) {
    const MatrixView<float> rows = states_[size_t(i)].input.matrix();
    scale > 0 ? edgeq::round_inputs(rows, scale) : edgeq::round_inputs(rows, activations);
  });
  return scale;
}

void Walk::keep_columns(std::span<const int64_t> columns) {
  parallel_for(int64_t(states_.size()), [&](int64_t i) {
    Tensor& input = states_[size_t(i)].input;
    Tensor kept(DType::f32, {input.rows(), std::ssize(columns)});
    for (int64_t t = 0; t < kept.rows(); ++t)
      for (int64_t c = 0; c < kept.cols(); ++c) kept.matrix()(t, c) = input.matrix()(t, columns[size_t(c)]);
    input = std::move(kept);
  });
}

InputStats Walk::stats(unsigned needs) const { return stage_stats(states_, needs); }

Streams::Streams(const BlockwiseModel& model, const Windows& windows, const Ends& ends, Count count)
    : now_(model, windows, ends) {
  if (count == Count::two) reference_.emplace(model, windows, model.ends());
}

void Streams::enter(const Block& original, const Block& block) {
  now_.enter(block);
  if (reference_) reference_->enter(original);
}

void Streams::step(const Block& original, const Block& block, int stage) {
  now_.step(block, stage);
  if (reference_) reference_->step(original, stage);
}

void Streams::leave_out(const Block& original) {
  if (reference_) reference_->pass(original);
}

void Streams::finish(const Ends& ends) {
  now_.finish(ends);
  if (reference_) reference_->finish(ends);
}

std::vector<InputStats> Streams::look_ahead(const Block& block, unsigned needs) const {
  Walk ahead = now_;
  ahead.enter(block);
  std::vector<InputStats> stats;
  const int stages = int(block.stages.size());
  for (int s = 0; s < stages; ++s) {
    stats.push_back(ahead.stats(needs));
    if (s + 1 < stages) ahead.step(block, s);
  }
  return stats;
}

InputStats Streams::stats(unsigned needs, bool adds_to_hidden) const {
  InputStats stats = now_.stats(needs);
  if ((needs & kNeedCross) == 0) return stats;
  EDGEQ_CHECK(reference_.has_value(), "cross moments need two streams");
  stats.cross = input_cross_moment(reference_->states(), now_.states());
  if (adds_to_hidden) stats.residual = hidden_cross_moment(reference_->states(), now_.states());
  if ((needs & kNeedDrift) == 0) return stats;
  stats.drift = input_drift(reference_->states(), now_.states());
  if (adds_to_hidden) stats.residual_drift = hidden_drift(reference_->states(), now_.states());
  return stats;
}

std::string stage_name(const Block& block, int stage) {
  return layer_site(block.index, block.stages[size_t(stage)].name);
}

}  // namespace edgeq
