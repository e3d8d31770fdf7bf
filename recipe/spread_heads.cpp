// SPDX-License-Identifier: Apache-2.0
#include "recipe/spread_heads.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "core/error.h"
#include "pruning/choose.h"
#include "recipe/knapsack.h"

namespace edgeq {
namespace {

// All of what a layer may become, itself first.
std::vector<LayerShape> shapes_of(const LayerShape& layer, bool whole_groups) {
  CutShares shares{.whole_groups = whole_groups};
  std::vector<LayerShape> shapes;
  for (const double share : shares_to_cut(layer, shares, true)) {
    shares.heads = share;
    shapes.push_back(shape_after(layer, shares));
  }
  return shapes;
}

double loss_of(const LayerShape& before, const LayerShape& after, const std::vector<double>& worth) {
  if (after.heads == before.heads) return 0;
  double loss = std::accumulate(worth.begin(), worth.end(), 0.0);
  for (const int64_t head : best_heads(worth, before, after).heads) loss -= worth[size_t(head)];
  return loss;
}

}  // namespace

void spread_heads(std::span<LayerShape> layers, std::span<const std::vector<double>> worth, double share,
                  bool whole_groups) {
  EDGEQ_CHECK(worth.size() == layers.size(), "the worth of every layer's heads");
  std::vector<std::vector<LayerShape>> shapes;
  std::vector<KnapsackSite> sites;
  int64_t all = 0, least = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    EDGEQ_CHECK(std::ssize(worth[l]) == layers[l].heads, "one number for each head");
    shapes.push_back(shapes_of(layers[l], whole_groups));
    KnapsackSite& site = sites.emplace_back();
    for (const LayerShape& shape : shapes.back())
      site.push_back({.bytes = shape.heads, .loss = loss_of(layers[l], shape, worth[l])});
    all += layers[l].heads;
    least += shapes.back().back().heads;
  }
  const int64_t go = std::llround(share * double(all));
  if (go < 1)
    throw Error(fmt::format("{} of {} heads in all layers is less than half of one; expected at least {:.4f}",
                            share, all, 1 / double(all)));
  const auto choice = solve_knapsack(sites, all - go);
  if (!choice)
    throw Error(fmt::format("{} of {} heads in all layers leaves {}; at least {} have to stay", share, all,
                            all - go, least));
  for (size_t l = 0; l < layers.size(); ++l) layers[l] = shapes[l][size_t(choice->picks[l])];
}

}  // namespace edgeq
