// SPDX-License-Identifier: Apache-2.0
#include "recipe/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/random.h"
#include "recipe/compress_site.h"
#include "recipe/trial.h"
#include "recipe/walk.h"

namespace edgeq {
namespace {

constexpr int64_t kHeadTokens = 64;  // whose logits are held at once

std::string sensitivity_part(const std::string& part) { return "sensitivity." + part; }

// In: logits. Out: the gradient of the log likelihood of one token drawn from each row's prediction.
void likelihood_gradient(MatrixView<float> logits, Random& random) {
  for (int64_t t = 0; t < logits.rows; ++t) {
    float* row = logits.row(t);
    const float top = *std::max_element(row, row + logits.cols);
    double sum = 0;
    for (int64_t v = 0; v < logits.cols; ++v) sum += double(row[v] = std::exp(row[v] - top));
    double left = random.uniform() * sum;
    int64_t drawn = 0;
    while (drawn + 1 < logits.cols && (left -= double(row[drawn])) >= 0) ++drawn;
    for (int64_t v = 0; v < logits.cols; ++v) row[v] = float(-double(row[v]) / sum);
    row[drawn] += 1;
  }
}

class Measurement {
 public:
  Measurement(const SensitivityInputs& in, Journal& journal, const Progress& progress)
      : in_(in), journal_(journal), progress_(progress), blocks_(int(in.plan.config.layers.size())) {
    windows_ = in.windows;
    const int64_t count = std::min(windows_.count(), kSensitivityWindows);
    windows_.tokens.resize(size_t(count * windows_.length));
    for (const std::string& part : part_names(in.plan.config))
      if (!open_sites(part).empty()) parts_.push_back(part);
  }

  std::vector<std::vector<double>> run() {
    const auto missing = [&](const std::string& part) { return !journal_.has(sensitivity_part(part)); };
    if (std::ranges::any_of(parts_, missing)) measure();
    return collect();
  }

 private:
  std::vector<size_t> open_sites(const std::string& part) const {
    std::vector<size_t> open;
    for (size_t i = 0; i < in_.plan.sites.size(); ++i)
      if (part_of_site(in_.plan.sites[i].name) == part && in_.plan.candidates[i].size() > 1)
        open.push_back(i);
    return open;
  }
  const std::vector<SitePlan>* open_candidates(std::string_view site) const {
    for (size_t i = 0; i < in_.plan.sites.size(); ++i)
      if (in_.plan.sites[i].name == site)
        return in_.plan.candidates[i].size() > 1 ? &in_.plan.candidates[i] : nullptr;
    return nullptr;
  }
  bool wanted(const std::string& part) const {
    return std::ranges::count(parts_, part) != 0 && !journal_.has(sensitivity_part(part));
  }

  void measure() {
    const Ends ends = in_.model.ends();
    Walk walk(in_.model, windows_, ends);
    std::vector<std::vector<Tensor>> entering;  // [block][window], the residual stream
    for (int b = 0; b < blocks_; ++b) {
      check_interrupt();
      entering.push_back(hidden_of(walk));
      walk.pass(in_.model.load(b));
      report_progress(progress_, "sensitivity: forward", b + 1, blocks_);
    }
    const auto head_costs = measure_head(ends, walk);
    for (int b = blocks_ - 1; b >= 0; --b) {
      check_interrupt();
      measure_block(in_.model.load(b), std::move(entering[size_t(b)]));
      report_progress(progress_, "sensitivity: back", blocks_ - b, blocks_);
    }
    if (wanted("embedding")) commit("embedding", {{"embedding", embedding_costs(ends, head_costs)}});
  }

  static std::vector<Tensor> hidden_of(const Walk& walk) {
    std::vector<Tensor> hidden;
    for (const State& state : walk.states()) hidden.push_back(state.hidden);
    return hidden;
  }

  // Leaves the gradients behind the last block. Returns what the candidates of a tied table cost as the head,
  // which is not all that they cost; those of a head of its own are committed.
  std::vector<double> measure_head(const Ends& ends, Walk& walk) {
    const auto count = size_t(windows_.count());
    gradients_.assign(count, Tensor());
    std::vector<WindowEnergy> energies(count);
    parallel_for(int64_t(count), [&](int64_t w) {
      const Tensor& hidden = walk.states()[size_t(w)].hidden;
      Tensor& gradient = gradients_[size_t(w)] = Tensor(DType::f32, hidden.shape());
      Random random{uint64_t(w)};
      for (int64_t first = 0; first < hidden.rows(); first += kHeadTokens) {
        const int64_t some = std::min(kHeadTokens, hidden.rows() - first);
        Tensor slice(DType::f32, {some, hidden.cols()});
        std::copy_n(hidden.matrix().row(first), slice.size(), slice.f32());
        const HeadGradients got = in_.backward.through_head(
            ends, slice, [&](MatrixView<float> logits) { likelihood_gradient(logits, random); });
        std::copy_n(got.hidden.f32(), slice.size(), gradient.matrix().row(first));
        energies[size_t(w)].add(got.site.matrix());
      }
    });
    walk.finish(ends);
    const std::string site = ends.head.weight.empty() ? "embedding" : "head";
    const std::vector<SitePlan>* candidates = open_candidates(site);
    if (candidates == nullptr || !wanted(site)) return {};
    const Energy energy = energy_of(energies);
    head_stats_ = walk.stats(needs_of(*candidates));
    const InputStats weighted = weighted_stats(walk.states(), energy);
    const ProductTrial trial(ends.head_site().weight.matrix(), energy, weighted);
    std::vector<double> costs(candidates->size());
    parallel_for(std::ssize(costs),
                 [&](int64_t c) { costs[size_t(c)] = trial.cost((*candidates)[size_t(c)], head_stats_); });
    if (site == "embedding") return costs;
    commit("head", {{"head", costs}});
    return {};
  }

  static unsigned needs_of(const std::vector<SitePlan>& candidates) {
    unsigned needs = kNeedMoments;
    for (const SitePlan& candidate : candidates) needs |= candidate.needs() & ~unsigned(kNeedCross);
    return needs;
  }

  void measure_block(const Block& block, std::vector<Tensor> entering) {
    const auto count = size_t(windows_.count());
    std::vector<std::vector<WindowEnergy>> energies(block.sites.size(), std::vector<WindowEnergy>(count));
    parallel_for(int64_t(count), [&](int64_t w) {
      BlockGradients got = in_.backward.through_block(block, entering[size_t(w)], gradients_[size_t(w)],
                                                      SiteGradients::outputs, Products::f32);
      gradients_[size_t(w)] = std::move(got.hidden);
      for (size_t s = 0; s < block.sites.size(); ++s) energies[s][size_t(w)].add(got.sites[s].matrix());
    });
    if (!wanted(layer_part(block.index))) return;
    std::map<std::string, std::vector<double>> costs;
    Walk walk(in_.model, std::move(entering));
    walk.enter(block);
    for (int s = 0; s < int(block.stages.size()); ++s) {
      std::vector<Energy> of_sites;
      for (const int i : block.stages[size_t(s)].sites) of_sites.push_back(energy_of(energies[size_t(i)]));
      measure_stage(block, block.stages[size_t(s)], walk, of_sites, costs);
      walk.step(block, s);
    }
    commit(layer_part(block.index), costs);
  }

  void measure_stage(const Block& block, const Stage& stage, const Walk& walk,
                     std::span<const Energy> energies, std::map<std::string, std::vector<double>>& costs) {
    struct Task {
      const SitePlan* candidate;
      const ProductTrial* trial;
      double* cost;
    };
    unsigned needs = kNeedMoments;
    std::vector<InputStats> weighted(stage.sites.size());
    std::vector<ProductTrial> trials;
    trials.reserve(stage.sites.size());
    std::vector<Task> tasks;
    for (size_t i = 0; i < stage.sites.size(); ++i) {
      const Site& site = block.sites[size_t(stage.sites[i])];
      const std::vector<SitePlan>* candidates = open_candidates(site.name);
      if (candidates == nullptr) continue;
      needs |= needs_of(*candidates);
      weighted[i] = weighted_stats(walk.states(), energies[i]);
      trials.emplace_back(site.weight.matrix(), energies[i], weighted[i]);
      std::vector<double>& site_costs = costs[site.name];
      site_costs.resize(candidates->size());
      for (size_t c = 0; c < candidates->size(); ++c)
        tasks.push_back({&(*candidates)[c], &trials.back(), &site_costs[c]});
    }
    if (tasks.empty()) return;
    const InputStats stats = walk.stats(needs);
    parallel_for(std::ssize(tasks), [&](int64_t i) {
      const Task& task = tasks[size_t(i)];
      *task.cost = task.trial->cost(*task.candidate, stats);
    });
  }

  // The table as a look-up, and as the head where it is that too.
  std::vector<double> embedding_costs(const Ends& ends, std::vector<double> head_costs) {
    const std::vector<SitePlan>& candidates = *open_candidates("embedding");
    const int64_t hidden = in_.plan.config.hidden, tokens = std::ssize(windows_.tokens);
    const double scale = in_.plan.config.embedding_scale;
    std::vector<double> columns(size_t(hidden), 0.0);
    for (const Tensor& gradient : gradients_)
      for (int64_t t = 0; t < gradient.rows(); ++t)
        for (int64_t c = 0; c < hidden; ++c) {
          const double g = scale * double(gradient.matrix()(t, c));
          columns[size_t(c)] += g * g / double(tokens);
        }
    const LookupTrial trial(ends.embedding.weight.matrix(), windows_.tokens, std::move(columns));
    const bool is_head = !head_costs.empty();
    const InputStats stats = is_head ? std::move(head_stats_) : unit_stats(hidden, needs_of(candidates));
    std::vector<double> costs(candidates.size(), 0.0);
    parallel_for(std::ssize(costs), [&](int64_t c) {
      costs[size_t(c)] = (is_head ? head_costs[size_t(c)] : 0.0) + trial.cost(candidates[size_t(c)], stats);
    });
    return costs;
  }

  void commit(const std::string& part, const std::map<std::string, std::vector<double>>& costs) {
    PartResult result{.part = sensitivity_part(part), .sites = {}, .vectors = {}};
    for (const auto& [site, values] : costs) {
      Tensor tensor(DType::f32, {std::ssize(values)});
      std::ranges::transform(values, tensor.f32(), [](double v) { return float(v); });
      result.vectors.push_back({site, std::move(tensor)});
    }
    journal_.commit(result);
  }

  std::vector<std::vector<double>> collect() const {
    std::vector<std::vector<double>> all(in_.plan.sites.size());
    for (const std::string& part : parts_) {
      const PartResult result = journal_.load(sensitivity_part(part));
      for (const size_t i : open_sites(part)) {
        const SitePlan& site = in_.plan.sites[i];
        const auto found = std::ranges::find(result.vectors, site.name, &NamedTensor::name);
        if (found == result.vectors.end() || found->tensor.size() != std::ssize(in_.plan.candidates[i]))
          throw Error(fmt::format("{}: the part {} does not hold what {} needs", journal_.folder(),
                                  result.part, site.name));
        all[i].assign(found->tensor.f32(), found->tensor.f32() + found->tensor.size());
      }
    }
    return all;
  }

  const SensitivityInputs& in_;
  Journal& journal_;
  const Progress& progress_;
  int blocks_;
  Windows windows_;
  std::vector<std::string> parts_;  // that hold a site which the budget decides
  std::vector<Tensor> gradients_;   // [window], of the stream where the way back stands
  InputStats head_stats_;
};

}  // namespace

std::vector<std::vector<double>> measure_sensitivities(const SensitivityInputs& in, Journal& journal,
                                                       const Progress& progress) {
  return Measurement(in, journal, progress).run();
}

}  // namespace edgeq
