// SPDX-License-Identifier: Apache-2.0
// What is kept of a teacher's distributions p over the vocabulary, a row for each token read:
//   top_k     the k likeliest tokens with their probabilities, and the mass of all others (tail). Without the
//             tail, renormalised, they would be biased: the student would learn too peaked distributions.
//   samples   k draws from p as counts / k: E[weight of a token] = p exactly, so that the cross entropy with
//             them has the full one's gradient in the mean (random sampling distillation, Anshumann et al.,
//             "Sparse Logit Sampling", arXiv 2503.16870).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "models/token.h"

namespace edgeq {

enum class TeacherKind : uint8_t { top_k, samples };

// The same number of places in every row, so that they can be gathered; a place that a row does not need has
// id 0 and weight 0. Weights and tail of a row add up to 1.
struct TeacherRows {
  int64_t tokens = 0, k = 0;
  std::vector<TokenId> ids;    // [tokens, k], by falling weight, then rising id
  std::vector<float> weights;  // [tokens, k], probabilities
  std::vector<float> tail;     // [tokens], probability of all other tokens together; samples: 0
};

struct TeacherForm {
  TeacherKind kind = TeacherKind::top_k;
  int64_t k = 32;     // places, or draws: 1 to 255
  uint64_t seed = 0;  // of the draws
};
// Throws Error for k outside 1 to min(255, vocab) (samples: 255).
void check_form(const TeacherForm& form, int64_t vocab);
std::string form_text(const TeacherForm& form);  // "top_k 64", "samples 50"

// log_probs is [tokens, vocab]: natural logarithms, -inf allowed. The draws depend on the seed, `sequence`
// and the row, on nothing else. Throws Error as check_form does, and for a row that holds NaN or whose
// probabilities do not add up to 1 within 1e-3, naming it.
TeacherRows reduce_rows(MatrixView<const float> log_probs, const TeacherForm& form, int64_t sequence);

// What a reduced form has lost, over all rows added. `bias` is the distance between means over rows, half of
// sum_v |mean(kept_v) - mean(p_v)|, where what is kept of a tail counts as where p has it; `bias_of_noise`
// what it comes to, at most in the mean, for draws without bias: half of sum_v sqrt(sum p_v (1 - p_v) / k) /
// rows (Jensen).
struct TeacherLoss {
  int64_t rows = 0;
  double tail = 0;        // mean mass of p outside of the kept ids
  double divergence = 0;  // mean KL(kept || p), the tail as one token
  double bias = 0, bias_of_noise = 0;
};

class TeacherLossMeter {
 public:
  // Of rows with `vocab` columns, kept as `form` says.
  TeacherLossMeter(int64_t vocab, const TeacherForm& form);
  void add(MatrixView<const float> log_probs, const TeacherRows& kept);
  TeacherLoss result() const;

 private:
  TeacherForm form_;
  TeacherLoss sums_;
  std::vector<double> difference_, variance_;  // [vocab]
};

}  // namespace edgeq
