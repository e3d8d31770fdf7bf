// SPDX-License-Identifier: Apache-2.0
// The teacher's side of a training, without gradients: what it says of a sequence, and what lies inside it.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <vector>

#include "distill/float_model.h"
#include "distill/network.h"
#include "distill/spec.h"

namespace edgeq {

// Of one sequence.
struct Lesson {
  at::Tensor logits;                                   // of predictions
  std::vector<at::Tensor> hidden;                      // after matched blocks
  std::vector<std::array<at::Tensor, 3>> projections;  // of its last block; empty: not asked for
};

class Teacher {
 public:
  // The model outlives it.
  Teacher(FloatModel& model, Arithmetic arithmetic);

  // What is looked at besides logits.
  struct Inside {
    std::vector<int64_t> matched;  // blocks
    bool projections = false;
  };
  // rows: of predictions (predictions_of), an index tensor.
  Lesson teach(const Sequence& sequence, const at::Tensor& rows, const Inside& inside) const;
  // The same in two steps: what its last norm reads, [predictions, hidden], small enough to be kept; and its
  // logits.
  at::Tensor read(const Sequence& sequence, const at::Tensor& rows) const;
  at::Tensor logits(const at::Tensor& read) const { return network_.logits(weights_, read); }

 private:
  at::Tensor walk(const Sequence& sequence, const at::Tensor& rows, const Inside& inside,
                  Lesson& lesson) const;

  Network network_;
  std::vector<at::Tensor> tensors_;  // what weights_ looks at
  Weights weights_;
};

// The rows of `hidden` that `rows` names; itself where it is all of them.
at::Tensor select_rows(const at::Tensor& hidden, const at::Tensor& rows);
at::Tensor index_tensor(const std::vector<int64_t>& rows);

}  // namespace edgeq
