// SPDX-License-Identifier: Apache-2.0
// The training loop. A step goes through `batch` sequences, several at once, each on one thread with its own
// graph; their gradients are added in the order of the sequences, so that results do not depend on the number
// of threads. Checkpoints hold all that a step depends on: a killed run goes on and has the losses that it
// would have had. No LibTorch type appears here; the implementation lies in the module (cli/torch_module.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/progress.h"
#include "core/quantized_tensor.h"
#include "core/tensor.h"
#include "distill/float_model.h"
#include "distill/sequences.h"
#include "distill/spec.h"
#include "distill/teacher_rows.h"
#include "eval/train_report.h"
#include "models/activations.h"

namespace edgeq {

// Low-rank adapters (LoRA, arXiv 2106.09685): of a site only alpha / rank B A is trained, which is added to
// its weight at the end.
struct AdapterSpec {
  int64_t rank = 0;  // 0: none, everything is trained
  double alpha = 16;
};

using Codes = std::map<std::string, QuantizedTensor, std::less<>>;  // by site

struct TrainInputs {
  const TrainSpec& spec;
  FloatModel& student;            // in: where it begins; out: the best on held-out text, or the last
  FloatModel* teacher = nullptr;  // not changed; null: none
  int64_t common_vocab = 0;       // tokens that teacher and student share, the first ones
  AdapterSpec adapters;
  Codes* codes = nullptr;  // sites that are trained through their rounding; out: their codes
  // How those sites read their inputs: rounded when the model runs (int8_block, int8_token), so in training.
  Activations inputs = Activations::f32;
  const std::vector<Sequence>& train;
  const std::vector<Sequence>& held_out;
  // Of a training sequence's predictions, in their order, in the form TrainSpec::teacher_cache.
  std::function<TeacherRows(int64_t sequence)> kept = {};
  std::string folder;  // of checkpoints; exists
  std::string key;     // of all that the result depends on besides `spec`
  std::function<void(const TrainReport& so_far)> stepped = {};  // after each step
};

// Throws Error when the loss is not finite any more, naming the step and the sequences, when a checkpoint
// belongs to another training or is damaged; Interrupted after a checkpoint was written.
TrainReport train(const TrainInputs& in, const Progress& progress);

// A teacher's distributions, to be kept for a training.
struct TeachInputs {
  FloatModel& teacher;       // not changed
  int64_t common_vocab = 0;  // columns: the first tokens
  Arithmetic arithmetic = Arithmetic::f32;
  const std::vector<Sequence>& sequences;
  int64_t first = 0;  // the sequence to begin with
  // Of each sequence in order: a row of logarithms of probabilities for each prediction.
  std::function<void(MatrixView<const float> log_probs)> take;
};
void teach(const TeachInputs& in, const Progress& progress);

}  // namespace edgeq
