// SPDX-License-Identifier: Apache-2.0
// The weighted losses of one sequence and their gradient at the student's weights. The way back goes span by
// span of blocks: only what enters a span is kept on the way forward, and what lies inside is computed again
// (activation checkpointing, arXiv 1604.06174); one span of all blocks keeps everything.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "distill/float_model.h"
#include "distill/losses.h"
#include "distill/network.h"
#include "distill/spec.h"

namespace edgeq {

struct Piece {
  std::vector<double> losses;         // of each term, summed over what it counts
  std::vector<at::Tensor> gradients;  // at the weights; undefined where none arrived
};

// What one step's sums are divided by.
struct StepCounts {
  int64_t predictions = 0, tokens = 0;
};

class Objective {
 public:
  // Models outlive it; of the student only shapes are read. teacher: null where no term needs one.
  Objective(const TrainSpec& spec, const FloatModel& student, FloatModel* teacher, int64_t common_vocab);

  // Matrices that are trained beside the student: projections of hidden states, [student's, teacher's width].
  const std::vector<std::pair<std::string, at::Tensor>>& beside() const { return beside_; }
  // What a term's sums are divided by: those within the network count every token, the others predictions.
  double divisor(size_t term, const StepCounts& counts) const;

  // weights: in the order of parameters_of(), then beside(); factors: of the terms. Thread-safe.
  Piece differentiate(const Sequence& sequence, std::span<const at::Tensor> weights,
                      std::span<const double> factors) const;
  // Of held-out text, summed.
  Divergence measure(const Sequence& sequence, std::span<const at::Tensor> weights) const;

 private:
  // Of the teacher, for one sequence.
  struct Lesson {
    at::Tensor logits;                                   // of predictions
    std::vector<at::Tensor> hidden;                      // after matched blocks, those of the student
    std::vector<std::array<at::Tensor, 3>> projections;  // of its last block; empty: not asked for
  };
  Lesson teach(const Sequence& sequence, const at::Tensor& rows) const;
  at::Tensor logits_of(const Network& network, const Weights& weights, const at::Tensor& hidden,
                       const at::Tensor& rows) const;
  // The student's losses within blocks [first, last), added to `roots` with their factors.
  struct Roots {
    std::vector<at::Tensor> values, gradients;
  };
  at::Tensor walk(const Weights& weights, std::span<const at::Tensor> beside, at::Tensor hidden,
                  int64_t first, int64_t last, const Sequence& sequence, const Lesson& lesson,
                  std::span<const double> factors, Roots& roots, std::vector<double>& losses) const;

  const std::vector<LossTerm>& terms_;
  Arithmetic arithmetic_;
  const FloatModel& student_;
  int64_t common_, span_;
  Network network_;
  std::optional<Network> teacher_network_;
  Weights teacher_;
  std::vector<at::Tensor> teacher_tensors_;         // what teacher_ looks at
  std::vector<int64_t> matched_, teacher_matched_;  // blocks
  std::vector<std::pair<std::string, at::Tensor>> beside_;
};

}  // namespace edgeq
