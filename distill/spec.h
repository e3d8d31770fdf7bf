// SPDX-License-Identifier: Apache-2.0
// What a training is asked to do: the losses and their schedule, the optimizer, when to look and when to
// stop. Plain values; the recipe of `edgeq distill` is read into them (recipe/distill_recipe.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "distill/teacher_rows.h"

namespace edgeq {

// p: the teacher's distribution of the next token, q: the student's, both softmax(logits / temperature).
enum class LossKind : uint8_t {
  forward_kl,         // sum p log(p / q): covers every mode
  reverse_kl,         // sum q log(q / p): seeks one
  js,                 // b KL(p | m) + (1 - b) KL(q | m), m = b p + (1 - b) q (GKD, arXiv 2306.13649); b = mix
  skewed_kl,          // KL(p | a p + (1 - a) q) (DistiLLM, arXiv 2402.03898); a = mix
  skewed_reverse_kl,  // KL(q | a q + (1 - a) p)
  cross_entropy,      // of the tokens of the text; needs no teacher
  hidden,             // mean |h_student P - h_teacher| after matched blocks, P learned (L1: stabler than L2)
  relation,  // KL of softmax(A A^T / sqrt(d)) over tokens, A the queries, keys and values of a block,
             // cut into as many heads on both sides (MiniLMv2, arXiv 2012.15828): widths may differ
};
std::string_view loss_name(LossKind kind);
LossKind parse_loss(std::string_view name);  // Error listing the known
bool needs_teacher(LossKind kind);

struct LossTerm {
  LossKind kind = LossKind::forward_kl;
  double weight = 1;        // at the first step,
  double final_weight = 1;  // at the last; linear in between
  double temperature = 1;   // of divergences; they are multiplied by its square
  double mix = 0.5;         // of js and the skewed kinds, in (0, 1)
  int64_t matched = 4;      // hidden: after so many blocks, evenly spaced, the last among them
  int64_t heads = 0;        // relation: relation heads; 0: as many as the student has KV heads
};

enum class Arithmetic : uint8_t {
  f32,
  bf16,  // products with operands and results rounded, sums in f32, where the CPU has instructions for it
};

struct TrainSpec {
  std::vector<LossTerm> losses;
  std::optional<TeacherForm> teacher_cache;  // what is kept of the teacher; none: it runs at every step
  int64_t tokens = 0;                        // to train on, in all; a text may be gone through several times
  int64_t batch = 16;                        // sequences of a step
  double rate = 3e-4;                        // of AdamW, at its height
  double warmup = 0.03;                      // share of the steps in which the rate grows to it
  double final_rate = 0.1;                   // share of the rate that the cosine ends at
  double decay = 0.01;                       // of matrices, decoupled
  double clip = 1;                           // longest gradient; 0: any
  Arithmetic arithmetic = Arithmetic::bf16;
  int64_t checkpoint_blocks = 0;  // blocks between hidden states that are kept for the way back, the rest
                                  // being computed again; 0: all is kept
  double save_minutes = 10;       // between checkpoints
  int64_t looks = 20;             // at held-out text over the training, besides the first
  int64_t patience = 0;           // looks in a row that were no improvement before it stops; 0: never
  uint64_t seed = 1;
};

// Throws Error for values out of range, no loss, a loss that needs a teacher where there is none, or more of
// one than is kept of it.
void validate(const TrainSpec& spec, bool has_teacher);

// Factors of a term and of the rate at step `step` of `steps`.
double weight_at(const LossTerm& term, int64_t step, int64_t steps);
double rate_at(const TrainSpec& spec, int64_t step, int64_t steps);

// "forward_kl", and what it is of where only some of the teacher is kept.
std::string term_text(const LossTerm& term, const TrainSpec& spec);

// All that the result depends on, as text: for keys.
std::string spec_key(const TrainSpec& spec);

}  // namespace edgeq
