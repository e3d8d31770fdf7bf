// SPDX-License-Identifier: Apache-2.0
#include "recipe/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "recipe/backward_pass.h"
#include "recipe/compress_site.h"
#include "recipe/trial.h"
#include "recipe/walk.h"

namespace edgeq {
namespace {

std::string sensitivity_part(const std::string& part) { return "sensitivity." + part; }

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
    BackwardPass pass(in_.model, in_.backward, windows_, ends, "sensitivity", progress_);
    const auto head_costs = measure_head(ends, pass);
    for (int b = blocks_ - 1; b >= 0; --b) measure_block(in_.model.load(b), pass);
    if (wanted("embedding")) commit("embedding", {{"embedding", embedding_costs(ends, pass, head_costs)}});
  }

  // Leaves the gradients behind the last block. Returns what the candidates of a tied table cost as the head,
  // which is not all that they cost; those of a head of its own are committed.
  std::vector<double> measure_head(const Ends& ends, BackwardPass& pass) {
    const auto count = size_t(windows_.count());
    std::vector<WindowEnergy> energies(count);
    std::vector<Random> draws;
    for (size_t w = 0; w < count; ++w) draws.emplace_back(w);
    pass.through_head(
        [&](int64_t w, int64_t, MatrixView<float> logits) { drawn_token_gradient(logits, draws[size_t(w)]); },
        [&](int64_t w, const Tensor& gradient) { energies[size_t(w)].add(gradient.matrix()); });
    Walk& walk = pass.walk();
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

  void measure_block(const Block& block, BackwardPass& pass) {
    const auto count = size_t(windows_.count());
    std::vector<std::vector<WindowEnergy>> energies(block.sites.size(), std::vector<WindowEnergy>(count));
    std::vector<Tensor> entering =
        pass.through_block(block, [&](int64_t w, const Tensor&, const BlockGradients& got) {
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
  std::vector<double> embedding_costs(const Ends& ends, const BackwardPass& pass,
                                      std::vector<double> head_costs) {
    const std::vector<SitePlan>& candidates = *open_candidates("embedding");
    const int64_t hidden = in_.plan.config.hidden, tokens = std::ssize(windows_.tokens);
    const double scale = in_.plan.config.embedding_scale;
    std::vector<double> columns(size_t(hidden), 0.0);
    for (const Tensor& gradient : pass.gradients())
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
        const Tensor* found = result.find_vector(site.name);
        if (found == nullptr || found->size() != std::ssize(in_.plan.candidates[i]))
          throw Error(fmt::format("{}: the part {} does not hold what {} needs", journal_.folder(),
                                  result.part, site.name));
        all[i] = numbers_of<double>(*found);
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
  InputStats head_stats_;
};

}  // namespace

std::vector<std::vector<double>> measure_sensitivities(const SensitivityInputs& in, Journal& journal,
                                                       const Progress& progress) {
  return Measurement(in, journal, progress).run();
}

}  // namespace edgeq
