// SPDX-License-Identifier: Apache-2.0
#include "recipe/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/timer.h"
#include "distill/adam.h"
#include "eval/likelihood.h"
#include "recipe/compress_site.h"
#include "recipe/factors.h"
#include "recipe/head_pieces.h"
#include "recipe/tune_state.h"
#include "recipe/walk.h"

namespace edgeq {
namespace {

const std::string kStatePart = "tune.state", kTeacherPart = "tune.teacher";

std::string tuned_part(const std::string& part) { return "tuned." + part; }

Tensor rows_of(const Tensor& tensor, int64_t first, int64_t count) {
  Tensor rows(DType::f32, {count, tensor.cols()});
  std::copy_n(tensor.matrix().row(first), rows.size(), rows.f32());
  return rows;
}

std::vector<Tensor> hidden_of(const Walk& walk) {
  std::vector<Tensor> hidden;
  for (const State& state : walk.states()) hidden.push_back(state.hidden);
  return hidden;
}

void add_to(std::span<float> sum, std::span<const float> more) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
}

class Tuner {
 public:
  Tuner(const TuneInputs& in, Journal& journal, const Progress& progress, const OnTuneStep& on_step)
      : in_(in),
        journal_(journal),
        progress_(progress),
        on_step_(on_step),
        tuning_(*in.plan.tuning),
        blocks_(int(in.plan.config.layers.size())),
        heldout_(heldout_windows(tuning_)),
        steps_(tuning_.epochs * steps_per_epoch(tuning_)) {
    EDGEQ_CHECK(in.windows.count() == tuning_.windows, "a tuning has the windows that it asks for");
    for (const std::string& name : parts()) {
      first_factor_.push_back(factors_);
      factors_ += factor_count(journal_.load(name), tuning_);
    }
    first_factor_.push_back(factors_);
  }

  TuneReport run() {
    if (factors_ == 0)
      throw Error("tune: no site is quantized with a scale, and there is no norm: nothing to train");
    read_models();
    TuneState state = begin();
    const Timer timer;
    const int64_t resumed = state.steps();
    while (state.steps() < steps_ && state.stop == TuneStop::no) {
      step(state);
      journal_.commit(state.as_part(kStatePart));
      if (on_step_ && state.stop != TuneStop::not_finite)
        on_step_(
            {.step = state.steps(),
             .steps = steps_,
             .kl = state.train.back(),
             .heldout_kl = state.heldout[size_t(state.kept)].kl,
             .tokens_per_second =
                 double((state.steps() - resumed) * tuning_.batch * in_.windows.length) / timer.seconds()});
      report_progress(progress_, "tune", state.stop == TuneStop::no ? state.steps() : steps_, steps_);
    }
    if (state.kept != 0) commit_tuned(state.best);
    return report(state);
  }

 private:
  // Those whose floats are trained: part 0 has the final norm, part 1 + b is block b.
  std::vector<std::string> parts() const {
    std::vector<std::string> names{"embedding"};
    for (int b = 0; b < blocks_; ++b) names.push_back(layer_part(b));
    return names;
  }
  template <class T>
  std::span<T> of_part(std::span<T> factors, size_t part) const {
    return factors.subspan(size_t(first_factor_[part]),
                           size_t(first_factor_[part + 1] - first_factor_[part]));
  }

  // What both models are made of, and the float model's residual streams behind its last block.
  void read_models() {
    teacher_ends_ = in_.model.ends();
    student_ends_ = teacher_ends_;
    table_ = journal_.load("embedding");
    restore_site(table_.site("embedding"), student_ends_.embedding);
    table_.sites.clear();  // its codes are not trained
    if (!student_ends_.head.weight.empty())
      restore_site(journal_.load("head").site("head"), student_ends_.head);
    const bool known = journal_.has(kTeacherPart);
    Walk walk(in_.model, known ? Windows{} : in_.windows, teacher_ends_);
    for (int b = 0; b < blocks_; ++b) {
      check_interrupt();
      Block block = in_.model.load(b);
      if (!known) walk.pass(block);
      for (Site& site : block.sites) site.weight = site.bias = Tensor();
      block.others.clear();
      frames_.push_back(std::move(block));
      if (!known) report_progress(progress_, "tune: float model", b + 1, blocks_);
    }
    if (!known) {
      PartResult part{.part = kTeacherPart, .sites = {}, .vectors = {}};
      for (Tensor& hidden : hidden_of(walk))
        part.vectors.push_back({fmt::format("window.{}", part.vectors.size()), std::move(hidden)});
      journal_.commit(part);
    }
    for (NamedTensor& hidden : journal_.load(kTeacherPart).vectors)
      teacher_.push_back(std::move(hidden.tensor));
    EDGEQ_CHECK(std::ssize(teacher_) == in_.windows.count(), "the key of a journal says how many windows");
  }

  TuneState begin() {
    if (journal_.has(kStatePart)) return TuneState(journal_.load(kStatePart), factors_);
    TuneState state(factors_);
    state.measured(heldout_kl(state.factors), tuning_.patience);
    journal_.commit(state.as_part(kStatePart));
    return state;
  }

  // The compressed model with these factors.
  void move_ends(std::span<const float> factors, Stored stored) {
    PartResult table = table_;
    move_by_factors(table, of_part(factors, 0), tuning_, stored);
    student_ends_.others = std::move(table.vectors);
  }
  Block block_with(int b, std::span<const float> factors, Stored stored) const {
    return block_with(b, journal_.load(layer_part(b)), factors, stored);
  }
  Block block_with(int b, PartResult part, std::span<const float> factors, Stored stored) const {
    move_by_factors(part, of_part(factors, size_t(b) + 1), tuning_, stored);
    Block block = frames_[size_t(b)];
    parallel_for(std::ssize(block.sites), [&](int64_t i) {
      Site& site = block.sites[size_t(i)];
      const SiteResult& result = part.site(site.name);
      if (result.quantized)
        site.weight = Tensor(DType::f32, {result.quantized->rows, result.quantized->cols});
      restore_site(result, site);
      site.bias = result.bias;
    });
    block.others = std::move(part.vectors);
    return block;
  }

  // Every n-th window of those that are trained on, n being the steps of an epoch: neighbours in the text go
  // to different steps.
  std::vector<int64_t> windows_of_step(int64_t step) const {
    const int64_t stride = steps_per_epoch(tuning_);
    std::vector<int64_t> windows;
    for (int64_t w = step % stride; w < in_.windows.count() - heldout_; w += stride) windows.push_back(w);
    return windows;
  }
  std::vector<int64_t> windows_held_out() const {
    std::vector<int64_t> windows(size_t(heldout_), 0);
    std::iota(windows.begin(), windows.end(), in_.windows.count() - heldout_);
    return windows;
  }
  Windows cut(const std::vector<int64_t>& numbers) const {
    Windows windows{.length = in_.windows.length, .tokens = {}};
    for (const int64_t w : numbers)
      windows.tokens.insert(windows.tokens.end(), in_.windows[w].begin(), in_.windows[w].end());
    return windows;
  }

  float heldout_kl(std::span<const float> factors) {
    const std::vector<int64_t> windows = windows_held_out();
    move_ends(factors, Stored::rounded);
    Walk walk(in_.model, cut(windows), student_ends_);
    for (int b = 0; b < blocks_; ++b) {
      check_interrupt();
      walk.pass(block_with(b, factors, Stored::rounded));
    }
    std::vector<double> kl(windows.size(), 0.0);
    parallel_for(std::ssize(windows), [&](int64_t w) {
      const Tensor& hidden = walk.states()[size_t(w)].hidden;
      for_each_head_piece(hidden, [&](int64_t first, const Tensor& rows) {
        Tensor logits = in_.backward.logits(student_ends_, rows);
        kl[size_t(w)] += divergence_of(logits.matrix(), windows[size_t(w)], first, 1);
      });
    });
    return float(std::accumulate(kl.begin(), kl.end(), 0.0) / double(heldout_ * in_.windows.length));
  }

  // The sum over tokens of one window, from `first` on; the logits become its gradient times `scale`.
  double divergence_of(MatrixView<float> logits, int64_t window, int64_t first, float scale) const {
    const Tensor expected =
        in_.backward.logits(teacher_ends_, rows_of(teacher_[size_t(window)], first, logits.rows));
    double kl = 0;
    for (int64_t t = 0; t < logits.rows; ++t) {
      const std::span<float> row(logits.row(t), size_t(logits.cols));
      kl += divergence_gradient({expected.matrix().row(t), row.size()}, row);
      for (float& value : row) value *= scale;
    }
    return kl;
  }

  // Leaves the gradients behind the last block, and adds those of the final norm. Returns the mean KL.
  double through_head(const std::vector<int64_t>& windows, std::span<const Tensor> leaving,
                      std::vector<Tensor>& gradients, std::span<float> of_factors) const {
    const auto tokens = double(std::ssize(windows) * in_.windows.length);
    std::vector<double> kl(windows.size(), 0.0);
    std::vector<std::vector<float>> sums(windows.size(), std::vector<float>(of_factors.size(), 0.0f));
    parallel_for(std::ssize(windows), [&](int64_t w) {
      const Tensor& hidden = leaving[size_t(w)];
      Tensor& gradient = gradients[size_t(w)] = Tensor(DType::f32, hidden.shape());
      std::vector<float> some(of_factors.size());
      for_each_head_piece(hidden, [&](int64_t first, const Tensor& rows) {
        const HeadGradients got =
            in_.backward.through_head(student_ends_, rows, [&](MatrixView<float> logits) {
              kl[size_t(w)] += divergence_of(logits, windows[size_t(w)], first, float(1 / tokens));
            });
        std::copy_n(got.hidden.f32(), got.hidden.size(), gradient.matrix().row(first));
        factor_gradients(table_, {}, got.others, tuning_, some);
        add_to(sums[size_t(w)], some);
      });
    });
    for (const auto& sum : sums) add_to(of_factors, sum);
    return std::accumulate(kl.begin(), kl.end(), 0.0) / tokens;
  }

  void through_block(int b, std::span<const float> factors, std::vector<Tensor> entering,
                     std::vector<Tensor>& gradients, std::span<float> of_factors) const {
    const PartResult part = journal_.load(layer_part(b));
    const Block block = block_with(b, part, factors, Stored::exact);
    std::vector<std::vector<float>> sums(entering.size(), std::vector<float>(of_factors.size(), 0.0f));
    parallel_for(std::ssize(entering), [&](int64_t w) {
      BlockGradients got = in_.backward.through_block(block, entering[size_t(w)], gradients[size_t(w)],
                                                      SiteGradients::weights, Products::bf16);
      gradients[size_t(w)] = std::move(got.hidden);
      std::vector<Tensor> sites(part.sites.size());
      for (size_t s = 0; s < block.sites.size(); ++s) {
        const auto at = std::ranges::find(part.sites, block.sites[s].name, &SiteResult::name);
        sites[size_t(at - part.sites.begin())] = std::move(got.sites[s]);
      }
      factor_gradients(part, sites, got.others, tuning_, sums[size_t(w)]);
    });
    for (const auto& sum : sums) add_to(of_factors, sum);
  }

  void step(TuneState& state) {
    const std::vector<int64_t> windows = windows_of_step(state.steps());
    const std::span<const float> factors = state.factors;
    move_ends(factors, Stored::exact);
    // [block][window], the residual stream that enters the block; at last the one that leaves them all.
    std::vector<std::vector<Tensor>> entering{hidden_of(Walk(in_.model, cut(windows), student_ends_))};
    for (int b = 0; b < blocks_; ++b) {
      check_interrupt();
      const Block block = block_with(b, factors, Stored::exact);
      std::vector<Tensor> next(windows.size());
      parallel_for(std::ssize(windows), [&](int64_t w) {
        next[size_t(w)] = in_.backward.leaving(block, entering[size_t(b)][size_t(w)], Products::bf16);
      });
      entering.push_back(std::move(next));
    }
    std::vector<float> gradient(state.factors.size(), 0.0f);
    std::vector<Tensor> streams(windows.size());
    const double kl = through_head(windows, entering.back(), streams, of_part(std::span(gradient), 0));
    for (int b = blocks_ - 1; b >= 0; --b) {
      check_interrupt();
      through_block(b, factors, std::move(entering[size_t(b)]), streams,
                    of_part(std::span(gradient), size_t(b) + 1));
    }
    const bool finite =
        std::isfinite(kl) && std::ranges::all_of(gradient, [](float g) { return std::isfinite(g); });
    if (!finite) {
      state.stop = TuneStop::not_finite;
      return;
    }
    const double way = double(state.steps()) / double(steps_);
    // Factors have small gradients: an epsilon that is smaller yet.
    const Adam adam{.epsilon = 1e-12F};
    adam.descend(state.factors, gradient, state.mean, state.square, state.steps(),
                 tuning_.rate * 0.5 * (1 + std::cos(std::numbers::pi * way)));
    state.train.push_back(float(kl));
    const int64_t every = std::max<int64_t>(1, steps_per_epoch(tuning_) / tuning_.checks);
    if (state.steps() % every == 0 || state.steps() == steps_)
      state.measured(heldout_kl(state.factors), tuning_.patience);
  }

  void commit_tuned(std::span<const float> factors) {
    const std::vector<std::string> names = parts();
    for (size_t p = 0; p < names.size(); ++p) {
      PartResult part = journal_.load(names[p]);
      move_by_factors(part, of_part(factors, p), tuning_, Stored::rounded);
      part.part = tuned_part(names[p]);
      journal_.commit(part);
    }
  }

  TuneReport report(const TuneState& state) const {
    return {.what = tuned_text(tuning_),
            .windows = in_.windows.count() - heldout_,
            .heldout_windows = heldout_,
            .steps = steps_,
            .train = state.train,
            .heldout = state.heldout,
            .kept = state.kept,
            .stopped = state.stop == TuneStop::no         ? ""
                       : state.stop == TuneStop::patience ? "no better on the windows held out"
                                                          : "the loss was no longer finite"};
  }

  const TuneInputs& in_;
  Journal& journal_;
  const Progress& progress_;
  const OnTuneStep& on_step_;
  Tuning tuning_;
  int blocks_;
  int64_t heldout_, steps_, factors_ = 0;
  std::vector<int64_t> first_factor_;  // of each part, and behind the last
  PartResult table_;                   // the embedding's norms, without its codes
  Ends teacher_ends_, student_ends_;   // the latter's norm as it was before
  std::vector<Block> frames_;          // without weights
  std::vector<Tensor> teacher_;        // [window] the float model's stream behind its last block
};

}  // namespace

TuneReport tune(const TuneInputs& in, Journal& journal, const Progress& progress, const OnTuneStep& on_step) {
  return Tuner(in, journal, progress, on_step).run();
}

std::string shipped_part(const Journal& journal, const std::string& part) {
  return journal.has(tuned_part(part)) ? tuned_part(part) : part;
}

}  // namespace edgeq
