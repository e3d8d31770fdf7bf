// SPDX-License-Identifier: Apache-2.0
#include "distill/teacher.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/parallel.h"
#include "distill/trainer.h"
#include "models/torch/threads.h"

namespace edgeq {

Teacher::Teacher(FloatModel& model, Arithmetic arithmetic) : network_(model.config) {
  for (const Parameter& parameter : parameters_of(model))
    tensors_.push_back(rounded_for(parameter, view_of(*parameter.values), arithmetic));
  weights_ = weights_of(model, tensors_, arithmetic);
}

at::Tensor Teacher::walk(const Sequence& sequence, const at::Tensor& rows, const Inside& inside,
                         Lesson& lesson) const {
  const auto blocks = std::ssize(weights_.layers);
  at::Tensor hidden = network_.embed(weights_, sequence);
  for (int64_t l = 0; l < blocks; ++l) {
    if (l + 1 == blocks && inside.projections)
      lesson.projections.push_back(network_.projections(weights_, l, hidden));
    hidden = network_.block(weights_, l, hidden, sequence);
    if (std::ranges::find(inside.matched, l) != inside.matched.end()) lesson.hidden.push_back(hidden);
  }
  return select_rows(hidden, rows);
}

Lesson Teacher::teach(const Sequence& sequence, const at::Tensor& rows, const Inside& inside) const {
  const c10::AutoGradMode off(false);
  Lesson lesson;
  lesson.logits = logits(walk(sequence, rows, inside, lesson));
  return lesson;
}

at::Tensor Teacher::read(const Sequence& sequence, const at::Tensor& rows) const {
  const c10::AutoGradMode off(false);
  Lesson nothing;
  return walk(sequence, rows, {}, nothing);
}

at::Tensor select_rows(const at::Tensor& hidden, const at::Tensor& rows) {
  return rows.size(0) == hidden.size(0) ? hidden : at::index_select(hidden, 0, rows);
}

at::Tensor index_tensor(const std::vector<int64_t>& rows) {
  return at::from_blob(const_cast<int64_t*>(rows.data()), {int64_t(rows.size())}, at::kLong).clone();
}

void teach(const TeachInputs& in, const Progress& progress) {
  use_one_thread_per_product();
  const c10::AutoGradMode off(false);
  const Teacher teacher(in.teacher, runnable(in.arithmetic));
  const auto total = std::ssize(in.sequences), at_once = int64_t(std::max(1, thread_count()));
  for (int64_t first = in.first; first < total; first += at_once) {
    std::vector<at::Tensor> said(size_t(std::min(at_once, total - first)));
    parallel_for(std::ssize(said), [&](int64_t i) {
      const c10::AutoGradMode quiet(false);  // each thread has its own
      const Sequence& sequence = in.sequences[size_t(first + i)];
      const at::Tensor rows = index_tensor(predictions_of(sequence).rows);
      const at::Tensor logits = teacher.logits(teacher.read(sequence, rows));
      said[size_t(i)] = at::log_softmax(logits.narrow(1, 0, in.common_vocab), -1).contiguous();
    });
    for (int64_t i = 0; i < std::ssize(said); ++i) {
      const at::Tensor& rows = said[size_t(i)];
      in.take({rows.data_ptr<float>(), rows.size(0), rows.size(1)});
      report_progress(progress, "cache the teacher", first + i + 1, total);
    }
  }
}

}  // namespace edgeq
