// SPDX-License-Identifier: Apache-2.0
#include "distill/trainee.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/random.h"

namespace edgeq {
namespace {

bool is_site_weight(const Parameter& parameter) {
  return is_matrix(parameter) && parameter.name.starts_with("layers.");
}

}  // namespace

Trainee::Trainee(FloatModel& model, const AdapterSpec& adapters, const Codes* codes, Arithmetic arithmetic,
                 uint64_t seed)
    : arithmetic_(arithmetic) {
  Random random(seed);
  size_t rounded = 0;
  for (const Parameter& parameter : parameters_of(model)) {
    Part part{.parameter = parameter, .values = view_of(*parameter.values)};
    const auto train = [&](const std::string& name, const at::Tensor& values, bool decays) {
      part.trained.push_back(trained_.size());
      trained_.push_back({name, values, decays});
    };

    const auto found = codes == nullptr ? Codes::const_iterator() : codes->find(parameter.name);
    if (adapters.rank > 0) {
      if (is_site_weight(parameter)) {
        const int64_t rows = part.values.size(0), cols = part.values.size(1);
        part.adapter = adapters.alpha / double(adapters.rank);
        const at::Tensor a = at::empty({adapters.rank, cols}, at::kFloat);
        fill_normal({a.data_ptr<float>(), size_t(a.numel())}, 1 / std::sqrt(double(cols)), random);
        train(parameter.name + ".a", a, false);
        train(parameter.name + ".b", at::zeros({rows, adapters.rank}, at::kFloat), false);
      }
    } else if (codes != nullptr && found != codes->end()) {
      part.grid = std::make_unique<FakeQuant>(found->second);
      train(parameter.name, part.values, false);
      train(parameter.name + ".steps", part.grid->initial_factors(), false);
      ++rounded;
    } else {
      train(parameter.name, part.values, is_matrix(parameter) && parameter.name != "positions");
    }
    parts_.push_back(std::move(part));
  }
  EDGEQ_CHECK(codes == nullptr || rounded == codes->size(), "codes are of the model's own matrices");
}

void Trainee::add(std::string name, at::Tensor values) {
  parts_.push_back({.parameter = {name, nullptr}, .values = values});
  parts_.back().trained = {trained_.size()};
  trained_.push_back({std::move(name), std::move(values), false});
}

int64_t Trainee::size() const {
  int64_t all = 0;
  for (const Trained& one : trained_) all += one.values.numel();
  return all;
}

at::Tensor Trainee::made(const Part& part, std::span<const at::Tensor> trained) const {
  if (part.grid != nullptr) return (*part.grid)(trained[0], trained[1]);
  if (part.adapter != 0) return part.values + at::mm(trained[1], trained[0]) * part.adapter;
  return part.values;
}

std::vector<at::Tensor> Trainee::trained_of(const Part& part) const {
  std::vector<at::Tensor> values;
  for (const size_t t : part.trained) values.push_back(trained_[t].values);
  return values;
}

std::vector<at::Tensor> Trainee::make_weights() const {
  const c10::AutoGradMode off(false);
  std::vector<at::Tensor> weights;
  for (const Part& part : parts_) {
    const at::Tensor values = made(part, trained_of(part)).detach();
    at::Tensor leaf =
        part.parameter.values == nullptr ? values : rounded_for(part.parameter, values, arithmetic_);
    weights.push_back(leaf.requires_grad_(!part.trained.empty()));
  }
  return weights;
}

std::vector<at::Tensor> Trainee::pull_back(std::span<const at::Tensor> gradients) const {
  const c10::AutoGradMode recording(true);
  std::vector<at::Tensor> pulled(trained_.size());
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.trained.empty() || !gradients[i].defined()) continue;
    if (part.grid == nullptr && part.adapter == 0) {
      pulled[part.trained[0]] = gradients[i];
      continue;
    }
    std::vector<at::Tensor> leaves = trained_of(part);
    for (at::Tensor& leaf : leaves) leaf = leaf.detach().requires_grad_(true);
    const auto found = torch::autograd::grad({made(part, leaves)}, leaves, {gradients[i]});
    for (size_t t = 0; t < found.size(); ++t) pulled[part.trained[t]] = found[t];
  }
  return pulled;
}

void Trainee::settle(Codes* codes) {
  const c10::AutoGradMode off(false);
  for (Part& part : parts_) {
    if (part.grid != nullptr)
      codes->find(part.parameter.name)->second =
          part.grid->codes(part.values, trained_[part.trained[1]].values);
    if (part.grid != nullptr || part.adapter != 0) part.values.copy_(made(part, trained_of(part)));
  }
}

}  // namespace edgeq
