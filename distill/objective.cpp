// SPDX-License-Identifier: Apache-2.0
#include "distill/objective.h"

#include <c10/core/GradMode.h>

#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/random.h"
#include "distill/kept_divergence.h"

namespace edgeq {
namespace {

const LossTerm* find_term(const std::vector<LossTerm>& terms, LossKind kind) {
  const auto found = std::ranges::find(terms, kind, &LossTerm::kind);
  return found == terms.end() ? nullptr : &*found;
}

bool inside(LossKind kind) { return kind == LossKind::hidden || kind == LossKind::relation; }

// After which of `blocks` blocks `count` matches are made: evenly spaced, the last among them.
std::vector<int64_t> spread(int64_t count, int64_t blocks) {
  std::vector<int64_t> after;
  for (int64_t i = 1; i <= count; ++i) after.push_back(std::llround(double(i * blocks) / double(count)) - 1);
  return after;
}

// Between widths of different size: its columns have length 1 on average.
at::Tensor first_projection(int64_t from, int64_t to, uint64_t seed) {
  if (from == to) return at::eye(from, at::kFloat);
  Random random(seed);
  at::Tensor matrix = at::empty({from, to}, at::kFloat);
  fill_normal({matrix.data_ptr<float>(), size_t(matrix.numel())}, 1 / std::sqrt(double(from)), random);
  return matrix;
}

int64_t heads_of(const LossTerm& term, const FloatModel& student) {
  return term.heads > 0 ? term.heads : student.config.layers.back().kv_heads;
}

void check_relation(int64_t heads, const FloatModel& model, std::string_view whose) {
  const LayerShape& layer = model.config.layers.back();
  for (const int64_t width : {layer.heads * layer.head_dim, layer.kv_heads * layer.head_dim})
    if (width % heads != 0)
      throw Error(fmt::format("{} relation heads do not divide the {}'s {} columns of a projection", heads,
                              whose, width));
}

}  // namespace

Objective::Objective(const TrainSpec& spec, const FloatModel& student, FloatModel* teacher,
                     int64_t common_vocab, InputRounding inputs)
    : terms_(spec.losses),
      form_(spec.teacher_cache),
      arithmetic_(runnable(spec.arithmetic)),
      inputs_(std::move(inputs)),
      student_(student),
      common_(common_vocab),
      span_(spec.checkpoint_blocks > 0 ? spec.checkpoint_blocks : std::ssize(student.blocks)),
      network_(student.config) {
  if (teacher == nullptr) return;
  teacher_.emplace(*teacher, arithmetic_);
  if (const LossTerm* term = find_term(terms_, LossKind::hidden)) {
    const int64_t count =
        std::min({term->matched, int64_t(std::ssize(student.blocks)), int64_t(std::ssize(teacher->blocks))});
    matched_ = spread(count, std::ssize(student.blocks));
    inside_.matched = spread(count, std::ssize(teacher->blocks));
    for (int64_t i = 0; i < count; ++i)
      beside_.emplace_back(
          fmt::format("projections.{}", i),
          first_projection(student.config.hidden, teacher->config.hidden, spec.seed + uint64_t(i)));
  }
  if (const LossTerm* term = find_term(terms_, LossKind::relation)) {
    inside_.projections = true;
    check_relation(heads_of(*term, student), student, "student");
    check_relation(heads_of(*term, student), *teacher, "teacher");
  }
}

Weights Objective::weights_from(std::span<const at::Tensor> tensors) const {
  return weights_of(student_, tensors, arithmetic_, inputs_);
}

double Objective::divisor(size_t term, const StepCounts& counts) const {
  return double(inside(terms_[term].kind) ? counts.tokens : counts.predictions);
}

double Objective::add_term(size_t t, const at::Tensor& logits, const Predictions& predictions,
                           const Lesson& lesson, const TeacherRows* kept, double factor,
                           const at::Tensor& gradient) const {
  const LossTerm& term = terms_[t];
  if (term.kind == LossKind::cross_entropy)
    return add_cross_entropy(logits, predictions.next, factor, gradient);
  if (kept != nullptr) return add_kept_divergence(*kept, form_->kind, logits, common_, factor, gradient);
  return add_divergence(term, logits, lesson.logits, common_, factor, gradient);
}

at::Tensor Objective::walk(const Weights& weights, std::span<const at::Tensor> beside, at::Tensor hidden,
                           int64_t first, int64_t last, const Sequence& sequence, const Lesson& lesson,
                           std::span<const double> factors, Roots& roots, std::vector<double>& losses) const {
  const auto count = [&](size_t term, const at::Tensor& loss) {
    losses[term] += loss.item<double>();
    roots.values.push_back(loss);
    roots.gradients.push_back(at::full({}, factors[term], at::kFloat));
  };
  for (int64_t l = first; l < last; ++l) {
    for (size_t t = 0; t < terms_.size(); ++t) {
      if (terms_[t].kind != LossKind::relation || l + 1 != std::ssize(student_.blocks)) continue;
      const auto student = network_.projections(weights, l, hidden);
      at::Tensor sum = at::zeros({}, at::kFloat);
      for_each_document(sequence, [&](int64_t at, int64_t tokens) {
        for (size_t i = 0; i < student.size(); ++i)
          sum = sum + relation_loss(student[i].narrow(0, at, tokens),
                                    lesson.projections.front()[i].narrow(0, at, tokens),
                                    heads_of(terms_[t], student_));
      });
      count(t, sum);
    }
    hidden = network_.block(weights, l, hidden, sequence);
    const auto match = std::ranges::find(matched_, l);
    if (match == matched_.end()) continue;
    const auto i = size_t(match - matched_.begin());
    for (size_t t = 0; t < terms_.size(); ++t)
      if (terms_[t].kind == LossKind::hidden) count(t, hidden_loss(hidden, lesson.hidden[i], beside[i]));
  }
  return hidden;
}

Piece Objective::differentiate(const Sequence& sequence, std::span<const at::Tensor> given,
                               std::span<const double> factors, const TeacherRows* kept) const {
  // Leaves of its own: gradients of sequences that run at once must not meet.
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& tensor : given)
    leaves.push_back(tensor.detach().requires_grad_(tensor.requires_grad()));
  const size_t own = leaves.size() - beside_.size();
  const std::span<const at::Tensor> beside = std::span(leaves).subspan(own);
  const Weights weights = weights_from(std::span<const at::Tensor>(leaves).first(own));
  const Predictions predictions = predictions_of(sequence);
  const at::Tensor rows = index_tensor(predictions.rows);
  const bool taught = kept == nullptr && std::ranges::any_of(terms_, needs_teacher, &LossTerm::kind);
  const Lesson lesson = taught ? teacher_->teach(sequence, rows, inside_) : Lesson();
  const int64_t blocks = std::ssize(student_.blocks), spans = (blocks + span_ - 1) / span_;

  std::vector<at::Tensor> entering(static_cast<size_t>(spans));
  {
    const c10::AutoGradMode off(false);
    if (spans > 1) entering[0] = network_.embed(weights, sequence);
    for (int64_t s = 0; s + 1 < spans; ++s) {
      at::Tensor hidden = entering[size_t(s)];
      for (int64_t l = s * span_; l < (s + 1) * span_; ++l)
        hidden = network_.block(weights, l, hidden, sequence);
      entering[size_t(s) + 1] = hidden;
    }
  }
  const c10::AutoGradMode recording(true);
  Piece piece{.losses = std::vector<double>(terms_.size(), 0.0), .gradients = {}};
  at::Tensor arriving;  // the gradient of the residual stream that leaves the span
  for (int64_t s = spans - 1; s >= 0; --s) {
    Roots roots;
    const at::Tensor entry =
        s > 0 ? entering[size_t(s)].detach().requires_grad_(true) : network_.embed(weights, sequence);
    const at::Tensor leaving = walk(weights, beside, entry, s * span_, std::min(blocks, (s + 1) * span_),
                                    sequence, lesson, factors, roots, piece.losses);
    if (s == spans - 1) {
      const at::Tensor logits = network_.logits(weights, select_rows(leaving, rows));
      const at::Tensor gradient = at::zeros_like(logits);
      for (size_t t = 0; t < terms_.size(); ++t)
        if (!inside(terms_[t].kind))
          piece.losses[t] += add_term(t, logits, predictions, lesson, kept, factors[t], gradient);
      roots.values.push_back(logits);
      roots.gradients.push_back(gradient);
    } else {
      roots.values.push_back(leaving);
      roots.gradients.push_back(arriving);
    }
    torch::autograd::backward(roots.values, roots.gradients);
    if (s > 0) arriving = entry.grad();
    entering[size_t(s)] = at::Tensor();
  }
  for (const at::Tensor& leaf : leaves) piece.gradients.push_back(leaf.grad());
  return piece;
}

Divergence Objective::measure(const Sequence& sequence, std::span<const at::Tensor> given,
                              at::Tensor& taught) const {
  const c10::AutoGradMode off(false);
  const size_t own = given.size() - beside_.size();
  const Weights weights = weights_from(given.first(own));
  const Predictions predictions = predictions_of(sequence);
  const at::Tensor rows = index_tensor(predictions.rows);
  if (teacher_ && !taught.defined()) taught = teacher_->read(sequence, rows);
  at::Tensor hidden = network_.embed(weights, sequence);
  for (int64_t l = 0; l < std::ssize(student_.blocks); ++l)
    hidden = network_.block(weights, l, hidden, sequence);
  return edgeq::measure(network_.logits(weights, select_rows(hidden, rows)),
                        teacher_ ? teacher_->logits(taught) : at::Tensor(), common_, predictions.next);
}

}  // namespace edgeq
