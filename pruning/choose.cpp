// SPDX-License-Identifier: Apache-2.0
#include "pruning/choose.h"

#include <algorithm>
#include <numeric>

#include "pruning/elimination.h"

namespace edgeq {
namespace {

constexpr int64_t kBatches = 24;  // in which channels go: costs of thousands are taken so many times

// The `count` of `units` with the highest values, ascending.
std::vector<int64_t> best(std::vector<int64_t> units, int64_t count, const std::vector<double>& values) {
  std::ranges::stable_sort(units, std::ranges::greater(), [&](int64_t u) { return values[size_t(u)]; });
  units.resize(size_t(count));
  std::ranges::sort(units);
  return units;
}

std::vector<int64_t> range(int64_t first, int64_t count) {
  std::vector<int64_t> all(size_t(count), 0);
  std::iota(all.begin(), all.end(), first);
  return all;
}

std::vector<int64_t> without(int64_t count, std::vector<int64_t> gone) {
  std::ranges::sort(gone);
  std::vector<int64_t> left;
  std::ranges::set_difference(range(0, count), gone, std::back_inserter(left));
  return left;
}

// KV heads go first, then query heads of those that stay.
Kept eliminate_heads(const UnitFacts& facts, const LayerShape& before, const LayerShape& after) {
  const int64_t group = before.heads / before.kv_heads, group_after = after.heads / after.kv_heads;
  const MatrixView<const float> hessian = facts.inputs->hessian.matrix();
  Kept kept;
  Elimination groups(facts.reader, hessian, facts.width * group);
  kept.kv_heads = without(before.kv_heads, groups.remove_least(before.kv_heads - after.kv_heads, 1,
                                                               [](int64_t) { return true; }));
  Elimination heads(facts.reader, hessian, facts.width);
  std::vector<int64_t> left(size_t(before.kv_heads), 0);
  for (const int64_t kv : kept.kv_heads) left[size_t(kv)] = group;
  for (int64_t h = 0; h < before.heads; ++h)
    if (left[size_t(h / group)] == 0) heads.remove(h);
  const auto gone = heads.remove_least(after.kv_heads * (group - group_after), 1, [&](int64_t h) {
    int64_t& of_group = left[size_t(h / group)];
    if (of_group <= group_after) return false;
    --of_group;
    return true;
  });
  for (const int64_t h : without(before.heads, gone))
    if (left[size_t(h / group)] != 0) kept.heads.push_back(h);
  return kept;
}

}  // namespace

Kept best_heads(const std::vector<double>& scores, const LayerShape& before, const LayerShape& after) {
  const int64_t group = before.heads / before.kv_heads, group_after = after.heads / after.kv_heads;
  std::vector<std::vector<int64_t>> heads;  // that stay if their KV head does
  std::vector<double> worth(size_t(before.kv_heads), 0.0);
  for (int64_t kv = 0; kv < before.kv_heads; ++kv) {
    heads.push_back(best(range(kv * group, group), group_after, scores));
    for (const int64_t h : heads.back()) worth[size_t(kv)] += scores[size_t(h)];
  }
  Kept kept;
  kept.kv_heads = best(range(0, before.kv_heads), after.kv_heads, worth);
  for (const int64_t kv : kept.kv_heads)
    kept.heads.insert(kept.heads.end(), heads[size_t(kv)].begin(), heads[size_t(kv)].end());
  return kept;
}

Choice choose_heads(const ScoreEntry& score, const UnitFacts& facts, const LayerShape& before,
                    const LayerShape& after) {
  Choice choice{.kept = {}, .scores = score.score(facts)};
  choice.kept =
      score.one_by_one ? eliminate_heads(facts, before, after) : best_heads(choice.scores, before, after);
  return choice;
}

Choice choose_channels(const ScoreEntry& score, const UnitFacts& facts, int64_t channels) {
  const int64_t count = facts.units(), go = count - channels;
  Choice choice{.kept = {}, .scores = score.score(facts)};
  if (score.one_by_one) {
    Elimination elimination(facts.reader, facts.inputs->hessian.matrix(), facts.width);
    choice.kept.channels = without(
        count, elimination.remove_least(go, (go + kBatches - 1) / kBatches, [](int64_t) { return true; }));
  } else {
    choice.kept.channels = best(range(0, count), channels, choice.scores);
  }
  return choice;
}

}  // namespace edgeq
