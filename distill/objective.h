// SPDX-License-Identifier: Apache-2.0
// The weighted losses of one sequence and their gradient at the student's weights. The way back goes span by
// span of blocks: only what enters a span is kept on the way forward, and what lies inside is computed again
// (activation checkpointing, arXiv 1604.06174); one span of all blocks keeps everything.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "distill/float_model.h"
#include "distill/losses.h"
#include "distill/network.h"
#include "distill/spec.h"
#include "distill/teacher.h"

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
  // Models outlive it; of the student only shapes are read. teacher: null where no term needs one. inputs: of
  // the student.
  Objective(const TrainSpec& spec, const FloatModel& student, FloatModel* teacher, int64_t common_vocab,
            InputRounding inputs);

  // Matrices that are trained beside the student: projections of hidden states, [student's, teacher's width].
  const std::vector<std::pair<std::string, at::Tensor>>& beside() const { return beside_; }
  // What a term's sums are divided by: those within the network count every token, the others predictions.
  double divisor(size_t term, const StepCounts& counts) const;

  // weights: in the order of parameters_of(), then beside(); factors: of the terms; kept: of the sequence,
  // where TrainSpec::teacher_cache says so. Thread-safe.
  Piece differentiate(const Sequence& sequence, std::span<const at::Tensor> weights,
                      std::span<const double> factors, const TeacherRows* kept = nullptr) const;
  // Of held-out text, summed. taught: what the teacher's last norm reads of it, made here where it is
  // undefined; nothing else of the teacher is computed again.
  Divergence measure(const Sequence& sequence, std::span<const at::Tensor> weights, at::Tensor& taught) const;

 private:
  Weights weights_from(std::span<const at::Tensor> tensors) const;
  // Of a distribution that both models have in common: the term's sum, its gradient added.
  double add_term(size_t term, const at::Tensor& logits, const Predictions& predictions, const Lesson& lesson,
                  const TeacherRows* kept, double factor, const at::Tensor& gradient) const;
  // The student's losses within blocks [first, last), added to `roots` with their factors.
  struct Roots {
    std::vector<at::Tensor> values, gradients;
  };
  at::Tensor walk(const Weights& weights, std::span<const at::Tensor> beside, at::Tensor hidden,
                  int64_t first, int64_t last, const Sequence& sequence, const Lesson& lesson,
                  std::span<const double> factors, Roots& roots, std::vector<double>& losses) const;

  const std::vector<LossTerm>& terms_;
  std::optional<TeacherForm> form_;  // of what is kept of the teacher
  Arithmetic arithmetic_;
  InputRounding inputs_;
  const FloatModel& student_;
  int64_t common_, span_;
  Network network_;
  std::optional<Teacher> teacher_;
  std::vector<int64_t> matched_;  // blocks
  Teacher::Inside inside_;
  std::vector<std::pair<std::string, at::Tensor>> beside_;
};

}  // namespace edgeq
