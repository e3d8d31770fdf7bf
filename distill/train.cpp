// SPDX-License-Identifier: Apache-2.0
#include "distill/trainer.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/timer.h"
#include "distill/adam.h"
#include "distill/objective.h"
#include "distill/train_state.h"
#include "distill/trainee.h"
#include "models/torch/threads.h"

namespace edgeq {
namespace {

constexpr const char* kCheckpointFile = "checkpoint.safetensors";
constexpr const char* kBestFile = "best.safetensors";
// Numbers that one thread updates at a time.
constexpr int64_t kSlice = int64_t(1) << 18;

std::span<float> floats_of(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), size_t(tensor.numel())};
}

// Numbers [first, first + count) of a tensor.
struct Slice {
  size_t tensor, first, count;
};
std::vector<Slice> slices_of(const std::vector<Trained>& tensors) {
  std::vector<Slice> slices;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t size = tensors[i].values.numel();
    for (int64_t first = 0; first < size; first += kSlice)
      slices.push_back({i, size_t(first), size_t(std::min(kSlice, size - first))});
  }
  return slices;
}

InputRounding inputs_of(const TrainInputs& in) {
  InputRounding rounding{.activations = in.inputs};
  if (in.codes != nullptr)
    for (const auto& [site, codes] : *in.codes) rounding.sites.insert(site);
  return rounding;
}

class Training {
 public:
  explicit Training(const TrainInputs& in)
      : in_(in),
        spec_(in.spec),
        objective_(in.spec, in.student, in.teacher, in.common_vocab, inputs_of(in)),
        trainee_(in.student, in.adapters, in.codes, runnable(in.spec.arithmetic), in.spec.seed),
        checkpoint_((std::filesystem::path(in.folder) / kCheckpointFile).string()),
        best_((std::filesystem::path(in.folder) / kBestFile).string()),
        key_(spec_key(in.spec) + in.key) {
    for (const auto& [name, matrix] : objective_.beside()) trainee_.add(name, matrix);
    for (const Trained& trained : trainee_.trained()) {
      means_.push_back(at::zeros_like(trained.values));
      squares_.push_back(at::zeros_like(trained.values));
      moving_.push_back(
          {trained.name, floats_of(trained.values), floats_of(means_.back()), floats_of(squares_.back())});
    }
    slices_ = slices_of(trainee_.trained());
    taught_.resize(in_.held_out.size());
    const int64_t per_step = spec_.batch * token_count(in_.train) / std::ssize(in_.train);
    state_.report.steps = std::max<int64_t>(1, (spec_.tokens + per_step - 1) / per_step);
    state_.report.parameters = trainee_.size();
    for (const LossTerm& term : spec_.losses) state_.report.terms.push_back(term_text(term, spec_));
    state_.report.losses.resize(spec_.losses.size());
    state_.report.arithmetic = runnable(spec_.arithmetic) == Arithmetic::bf16 ? "bf16" : "f32";
  }

  TrainReport run(const Progress& progress) {
    if (std::filesystem::exists(checkpoint_)) state_ = load_state(checkpoint_, key_, moving_);
    TrainReport& report = state_.report;
    const int64_t resumed = state_.step;
    Timer since_saved;
    try {
      while (true) {
        if (look_is_due()) look();
        if (state_.step == report.steps || !report.stopped.empty()) break;
        check_interrupt();
        step();
        report_progress(progress, "train", state_.step, report.steps);
        if (in_.stepped) in_.stepped(report);
        if (since_saved.seconds() >= 60 * spec_.save_minutes) {
          save();
          since_saved = Timer();
        }
      }
    } catch (const Interrupted&) {  // between two steps, or in one or a look that changed nothing yet
      save();
      throw;
    }
    if (state_.step != resumed) save();  // what follows may fail: it need not be trained again for that
    if (!report.looks.empty() && report.kept + 1 < std::ssize(report.looks))
      load_values(best_, key_, moving_);
    trainee_.settle(in_.codes);
    return report;
  }

 private:
  // The sequences of a step: epochs one after another, each in an order of its own.
  std::vector<int64_t> batch_of(int64_t step) {
    std::vector<int64_t> batch;
    const int64_t count = std::ssize(in_.train);
    for (int64_t i = step * spec_.batch; i < (step + 1) * spec_.batch; ++i) {
      const int64_t epoch = i / count;
      if (epoch != order_epoch_ || order_.empty()) {
        order_ = epoch_order(count, spec_.seed, epoch);
        order_epoch_ = epoch;
      }
      batch.push_back(order_[size_t(i % count)]);
    }
    return batch;
  }

  void step() {
    const Timer timer;
    const std::vector<int64_t> batch = batch_of(state_.step);
    StepCounts counts;
    for (const int64_t s : batch) {
      counts.tokens += std::ssize(in_.train[size_t(s)].tokens);
      counts.predictions += learned_count(std::span(&in_.train[size_t(s)], 1));
    }
    std::vector<double> factors, divisors;
    for (size_t t = 0; t < spec_.losses.size(); ++t) {
      divisors.push_back(objective_.divisor(t, counts));
      factors.push_back(weight_at(spec_.losses[t], state_.step, state_.report.steps) / divisors.back());
    }
    std::vector<double> losses(spec_.losses.size(), 0.0);
    const std::vector<at::Tensor> gradients = trainee_.pull_back(gradients_of(batch, factors, losses));
    const double length = gradient_length(gradients);
    for (size_t t = 0; t < losses.size(); ++t) losses[t] /= divisors[t];
    if (!std::isfinite(length) || !std::ranges::all_of(losses, [](double l) { return std::isfinite(l); }))
      refuse_step(batch, losses, length);
    descend(gradients, spec_.clip > 0 && length > spec_.clip ? spec_.clip / length : 1.0);
    for (size_t t = 0; t < losses.size(); ++t) state_.report.losses[t].push_back(float(losses[t]));
    state_.report.tokens += counts.tokens;
    ++state_.step;
    state_.report.seconds += timer.seconds();
  }

  // Before the first step, every so many, and after the last; once at each.
  bool look_is_due() const {
    const TrainReport& report = state_.report;
    const int64_t every = std::max<int64_t>(1, report.steps / spec_.looks);
    const bool looked = !report.looks.empty() && report.looks.back().step == state_.step;
    return !in_.held_out.empty() && !looked && (state_.step % every == 0 || state_.step == report.steps);
  }

  // Summed over the batch in its order, at the weights; losses are added up.
  std::vector<at::Tensor> gradients_of(const std::vector<int64_t>& batch, std::span<const double> factors,
                                       std::vector<double>& losses) {
    const std::vector<at::Tensor> weights = trainee_.make_weights();
    std::vector<at::Tensor> sums(weights.size());
    const int64_t at_once = std::max(1, thread_count());
    for (int64_t first = 0; first < std::ssize(batch); first += at_once) {
      const int64_t count = std::min(at_once, std::ssize(batch) - first);
      std::vector<Piece> pieces(static_cast<size_t>(count));
      std::vector<TeacherRows> kept;  // by one thread: the files are read by a library that allows no more
      for (int64_t i = 0; i < count && spec_.teacher_cache; ++i)
        kept.push_back(kept_of(batch[size_t(first + i)]));
      parallel_for(count, [&](int64_t i) {
        const Sequence& sequence = in_.train[size_t(batch[size_t(first + i)])];
        pieces[size_t(i)] =
            objective_.differentiate(sequence, weights, factors, kept.empty() ? nullptr : &kept[size_t(i)]);
      });
      parallel_for(std::ssize(sums), [&](int64_t w) {
        const c10::AutoGradMode off(false);
        for (const Piece& piece : pieces) {
          const at::Tensor& gradient = piece.gradients[size_t(w)];
          if (!gradient.defined()) continue;
          at::Tensor& sum = sums[size_t(w)];
          if (sum.defined())
            sum.add_(gradient);
          else
            sum = gradient.to(at::kFloat);
        }
      });
      for (const Piece& piece : pieces)
        for (size_t t = 0; t < losses.size(); ++t) losses[t] += piece.losses[t];
    }
    return sums;
  }

  TeacherRows kept_of(int64_t sequence) const {
    TeacherRows rows = in_.kept(sequence);
    const int64_t wanted = learned_count(std::span(&in_.train[size_t(sequence)], 1));
    if (rows.tokens != wanted)
      throw Error(fmt::format("the cached teacher has {} rows of sequence {}; expected {}", rows.tokens,
                              sequence, wanted));
    return rows;
  }

  double gradient_length(const std::vector<at::Tensor>& gradients) {
    std::vector<double> sums(slices_.size(), 0.0);
    parallel_for(std::ssize(slices_), [&](int64_t s) {
      const auto& [tensor, first, count] = slices_[size_t(s)];
      if (!gradients[tensor].defined()) return;
      for (const float g : floats_of(gradients[tensor]).subspan(first, count))
        sums[size_t(s)] += double(g) * double(g);
    });
    return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
  }

  void descend(const std::vector<at::Tensor>& gradients, double factor) {
    const double rate = rate_at(spec_, state_.step, state_.report.steps);
    const InterruptHold hold;  // half of the weights moved would be no state to go on from
    parallel_for(std::ssize(slices_), [&](int64_t s) {
      const auto& [tensor, first, count] = slices_[size_t(s)];
      if (!gradients[tensor].defined()) return;
      const std::span<float> gradient = floats_of(gradients[tensor]).subspan(first, count);
      if (factor != 1)
        for (float& g : gradient) g *= float(factor);
      const Moving& moving = moving_[tensor];
      const Adam adam{.decay = trainee_.trained()[tensor].decays ? float(spec_.decay) : 0.0F};
      adam.descend(moving.values.subspan(first, count), gradient, moving.means.subspan(first, count),
                   moving.squares.subspan(first, count), state_.step, rate);
    });
  }

  [[noreturn]] void refuse_step(const std::vector<int64_t>& batch, const std::vector<double>& losses,
                                double length) {
    save();  // as it was before this step
    throw Error(
        fmt::format("step {} of {}: losses {:.4g}, gradient of length {:.4g}: not finite (sequences {} of "
                    "the training text); {} holds the state before it",
                    state_.step + 1, state_.report.steps, fmt::join(losses, ", "), length,
                    fmt::join(batch, ", "), checkpoint_))
        .set_hint(
            "a lower rate, a longer warmup or arithmetic: f32 may carry it through; begin anew with them");
  }

  void look() {
    std::vector<Divergence> found(in_.held_out.size());
    const std::vector<at::Tensor> weights = trainee_.make_weights();
    parallel_for(std::ssize(found), [&](int64_t i) {
      found[size_t(i)] = objective_.measure(in_.held_out[size_t(i)], weights, taught_[size_t(i)]);
    });
    Divergence sum;
    for (const Divergence& one : found) {
      sum.kl += one.kl, sum.log_loss += one.log_loss, sum.teacher_loss += one.teacher_loss;
    }
    TrainReport& report = state_.report;
    const auto count = double(learned_count(in_.held_out));
    report.teacher_log_loss = sum.teacher_loss / count;
    report.looks.push_back({.step = state_.step,
                            .tokens = report.tokens,
                            .kl = sum.kl / count,
                            .log_loss = sum.log_loss / count});
    const int64_t last = std::ssize(report.looks) - 1;
    const auto value = [&](int64_t i) { return watched(report, report.looks[size_t(i)]); };
    if (last == 0 || value(last) < value(report.kept)) {  // never where it is no number
      report.kept = last;
      save_values(best_, key_, moving_);
    } else if (spec_.patience > 0 && last - report.kept >= spec_.patience) {
      report.stopped = fmt::format("{} looks in a row were not the best", spec_.patience);
    }
  }

  void save() { save_state(checkpoint_, key_, state_, moving_); }

  const TrainInputs& in_;
  const TrainSpec& spec_;
  Objective objective_;
  Trainee trainee_;
  std::string checkpoint_, best_, key_;
  std::vector<at::Tensor> means_, squares_;
  std::vector<Moving> moving_;
  std::vector<Slice> slices_;       // of all of moving_
  std::vector<at::Tensor> taught_;  // of held-out sequences (Objective::measure)
  TrainState state_;
  std::vector<int64_t> order_;
  int64_t order_epoch_ = 0;
};

}  // namespace

TrainReport train(const TrainInputs& in, const Progress& progress) {
  use_one_thread_per_product();
  validate(in.spec, in.teacher != nullptr);
  EDGEQ_CHECK(!in.spec.teacher_cache || in.kept, "what is kept of the teacher can be read");
  EDGEQ_CHECK(!in.train.empty(), "there is something to train on");
  return Training(in).run(progress);
}

}  // namespace edgeq
