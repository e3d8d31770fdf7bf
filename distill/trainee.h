// SPDX-License-Identifier: Apache-2.0
// What is trained of a student, and the weights that its network multiplies: each parameter itself, its
// rounding to a grid (distill/fake_quant.h), or itself and a low-rank adapter. The weights are made once a
// step; the gradients at them, summed over the step's sequences, are pulled back to what is trained.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "distill/fake_quant.h"
#include "distill/network.h"
#include "distill/trainer.h"

namespace edgeq {

// Numbers that an optimizer moves, f32.
struct Trained {
  std::string name;
  at::Tensor values;
  bool decays = false;  // matrices
};

class Trainee {
 public:
  // Trains the model's own tensors in place. Throws Error for codes of a site that the model does not have.
  Trainee(FloatModel& model, const AdapterSpec& adapters, const Codes* codes, Arithmetic arithmetic,
          uint64_t seed);
  // A matrix beside the model, such as a projection of hidden states.
  void add(std::string name, at::Tensor values);

  std::vector<Trained>& trained() { return trained_; }
  int64_t size() const;  // numbers that are trained

  // In the order of parameters_of(), then what was added: leaves of the network's graph. Those of parameters
  // that are not trained need no gradient.
  std::vector<at::Tensor> make_weights() const;
  // gradients: at the weights, f32, undefined for none. Returns those of trained(), in its order.
  std::vector<at::Tensor> pull_back(std::span<const at::Tensor> gradients) const;
  // Adapters and rounding become part of the model's tensors, and of `codes`.
  void settle(Codes* codes);

 private:
  struct Part {
    Parameter parameter;
    at::Tensor values;                // of the model, or of what was added
    std::unique_ptr<FakeQuant> grid;  // where it is rounded
    double adapter = 0;               // alpha / rank; 0: none
    std::vector<size_t> trained;      // indices into trained_
  };
  // What the network multiplies, of the part's trained values or copies of them.
  at::Tensor made(const Part& part, std::span<const at::Tensor> trained) const;
  std::vector<at::Tensor> trained_of(const Part& part) const;

  std::vector<Part> parts_;
  std::vector<Trained> trained_;
  Arithmetic arithmetic_;
};

}  // namespace edgeq
