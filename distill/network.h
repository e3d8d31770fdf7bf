// SPDX-License-Identifier: Apache-2.0
// Sequences of packed documents through a decoder: documents do not see each other, positions count from each
// document's first token. The mathematics is models/torch/decoder.h.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "distill/float_model.h"
#include "distill/sequences.h"
#include "distill/spec.h"
#include "models/torch/decoder.h"

namespace edgeq {

// The tensors of a model where a forward pass finds them.
struct Weights {
  at::Tensor embedding, positions;
  std::vector<LayerTensors> layers;
  NormTensors final_norm;
  LinearTensors head;
};

// Where the inputs of products are rounded as well, as the runtime will round them.
struct InputRounding {
  Activations activations = Activations::f32;
  std::set<std::string, std::less<>> sites =
      {};  // whose codes are trained; "embedding": where it is the head
};

// `tensors` in the order of parameters_of(model); of `model` only names and shapes are read. With bf16
// products the matrices of blocks and head may be bf16 themselves.
Weights weights_of(const FloatModel& model, std::span<const at::Tensor> tensors, Arithmetic arithmetic,
                   const InputRounding& inputs = {});
// bf16 where the CPU has instructions for it, f32 elsewhere.
Arithmetic runnable(Arithmetic arithmetic);
// What a parameter is multiplied as: matrices of blocks and head are rounded under bf16, all else is f32.
at::Tensor rounded_for(const Parameter& parameter, const at::Tensor& values, Arithmetic arithmetic);

// visit(first, count) for each document of a sequence.
template <class Visit>
void for_each_document(const Sequence& sequence, Visit&& visit) {
  for (size_t d = 0; d < sequence.documents.size(); ++d) {
    const int64_t first = sequence.documents[d];
    const bool last = d + 1 == sequence.documents.size();
    visit(first, (last ? int64_t(sequence.tokens.size()) : sequence.documents[d + 1]) - first);
  }
}

class Network {
 public:
  explicit Network(const ModelConfig& config) : decoder_(config) {}
  const ModelConfig& config() const { return decoder_.config(); }

  at::Tensor embed(const Weights& weights, const Sequence& sequence) const;  // [tokens, hidden]
  at::Tensor block(const Weights& weights, int64_t layer, const at::Tensor& hidden,
                   const Sequence& sequence) const;
  // Queries, keys and values before rotation of the block that `hidden` enters.
  std::array<at::Tensor, 3> projections(const Weights& weights, int64_t layer,
                                        const at::Tensor& hidden) const;
  // hidden [rows, hidden] -> [rows, vocab], f32.
  at::Tensor logits(const Weights& weights, const at::Tensor& hidden) const;

 private:
  Decoder decoder_;
};

// Rows whose next token the loss counts, and those tokens.
struct Predictions {
  std::vector<int64_t> rows;
  std::vector<TokenId> next;
};
Predictions predictions_of(const Sequence& sequence);

}  // namespace edgeq
