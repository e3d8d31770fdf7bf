// SPDX-License-Identifier: Apache-2.0
#include "pruning/size.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "core/error.h"

namespace edgeq {
namespace {

constexpr std::string_view kUnitNames[] = {"parameters", "bytes", "macs"};
constexpr std::string_view kKindNames[] = {"blocks", "heads", "ffn"};
constexpr std::pair<std::string_view, double> kSuffixes[] = {
    {"", 1}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"B", 1e9}};
constexpr std::pair<std::string_view, double> kByteSuffixes[] = {
    {"", 1}, {"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}};
constexpr double kMost = 1e15;

ModelConfig cut_config(const ModelConfig& config, const CutShares& shares) {
  std::vector<int> blocks(size_t(blocks_after(std::ssize(config.layers), shares.blocks)));
  std::iota(blocks.begin(), blocks.end(), 0);
  return config_after(config, blocks, shares);
}

class Search {
 public:
  Search(const SizeLimit& limit, std::span<const UnitKind> kinds, const CutShares& fixed,
         const ModelConfig& config, int64_t bytes_per_weight)
      : limit_(limit), fixed_(fixed), config_(config), bytes_per_weight_(bytes_per_weight) {
    for (const UnitKind kind : kinds) {
      EDGEQ_CHECK(fixed.*share_of(kind) == 0, "a kind has a share or is searched");
      steps_[kind] = cut_steps(kind);
    }
  }

  CutShares run() const {
    if (fits(fixed_))
      throw Error(fmt::format("a budget of {} {}: the model {}has {}, nothing is to go", limit_.most, name(),
                              fixed_.any() ? "with the given cuts " : "", size(fixed_)));
    const CutShares least = at(1);
    if (!fits(least))
      throw Error(fmt::format("a budget of {} {} cannot be met by cutting {}; the least is {}", limit_.most,
                              name(), unit_kinds_text(kinds()), size(least)));
    std::set<double> shares;
    for (const auto& [kind, steps] : steps_) shares.insert(steps.begin(), steps.end());
    CutShares found = least;
    for (const double share : shares)
      if (fits(at(share))) {
        found = at(share);
        break;
      }
    for (const auto& [kind, steps] : steps_)
      for (const double less : steps) {
        CutShares given_back = found;
        given_back.*share_of(kind) = less;
        if (less < found.*share_of(kind) && fits(given_back)) found = given_back;
      }
    return found;
  }

 private:
  std::string_view name() const { return size_unit_name(limit_.unit); }
  int64_t size(const CutShares& shares) const {
    return size_of(cut_config(config_, shares), limit_.unit, bytes_per_weight_);
  }
  bool fits(const CutShares& shares) const { return size(shares) <= limit_.most; }

  std::vector<UnitKind> kinds() const {
    std::vector<UnitKind> kinds;
    for (const auto& [kind, steps] : steps_) kinds.push_back(kind);
    return kinds;
  }

  // Ascending shares that a config can say, from 0.
  std::vector<double> cut_steps(UnitKind kind) const {
    if (kind != UnitKind::blocks) return shares_to_cut(config_.layers[0], fixed_, kind == UnitKind::heads);
    std::vector<double> steps;
    for (size_t cut = 0; cut < config_.layers.size(); ++cut)
      steps.push_back(double(cut) / double(config_.layers.size()));
    return steps;
  }

  CutShares at(double share) const {
    CutShares shares = fixed_;
    for (const auto& [kind, steps] : steps_)
      for (const double step : steps)
        if (step <= share) shares.*share_of(kind) = step;
    return shares;
  }

  const SizeLimit& limit_;
  const CutShares& fixed_;
  const ModelConfig& config_;
  int64_t bytes_per_weight_;
  std::map<UnitKind, std::vector<double>> steps_;
};

}  // namespace

std::string_view size_unit_name(SizeUnit unit) { return kUnitNames[size_t(unit)]; }

SizeLimit parse_size_limit(std::string_view unit, std::string_view most) {
  const auto found = std::ranges::find(kUnitNames, unit);
  if (found == std::end(kUnitNames))
    throw Error(fmt::format("budget is in \"{}\"; expected parameters, bytes or macs", unit));
  const SizeUnit of = SizeUnit(found - std::begin(kUnitNames));
  double number = 0;
  const auto [end, problem] =
      std::from_chars(most.data(), most.data() + most.size(), number, std::chars_format::fixed);
  if (problem == std::errc() && std::isfinite(number)) {
    std::string_view suffix = most.substr(size_t(end - most.data()));
    while (suffix.starts_with(' ')) suffix.remove_prefix(1);
    for (const auto& [name, factor] : of == SizeUnit::bytes ? kByteSuffixes : kSuffixes)
      if (suffix == name && number * factor >= 1 && number * factor <= kMost)
        return {.unit = of, .most = std::llround(number * factor)};
  }
  throw Error(fmt::format("a budget of {} is \"{}\"; expected a number{}", unit, most,
                          of == SizeUnit::bytes ? " and a unit, such as 200MB" : ", such as 100M"));
}

SizeLimit parse_size_limit(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos)
    throw Error(fmt::format(
        "budget is \"{}\"; expected parameters=, bytes= or macs=, such as parameters=100M", text));
  return parse_size_limit(text.substr(0, equals), text.substr(equals + 1));
}

double CutShares::*share_of(UnitKind kind) {
  if (kind == UnitKind::blocks) return &CutShares::blocks;
  return kind == UnitKind::heads ? &CutShares::heads : &CutShares::ffn;
}

std::vector<UnitKind> parse_unit_kinds(std::string_view text) {
  std::vector<UnitKind> kinds;
  for (size_t first = 0; first <= text.size();) {
    const size_t comma = std::min(text.find(',', first), text.size());
    const std::string_view name = text.substr(first, comma - first);
    const auto found = std::ranges::find(kKindNames, name);
    if (found == std::end(kKindNames))
      throw Error(fmt::format("a budget by cutting \"{}\"; expected heads, ffn or blocks", name));
    const UnitKind kind = UnitKind(found - std::begin(kKindNames));
    if (std::ranges::count(kinds, kind) != 0)
      throw Error(fmt::format("a budget by cutting {} twice; expected each kind once", name));
    kinds.push_back(kind);
    first = comma + 1;
  }
  return kinds;
}

std::string unit_kinds_text(std::span<const UnitKind> kinds) {
  std::string text;
  for (const UnitKind kind : kinds) {
    if (!text.empty()) text += ", ";
    text += kKindNames[size_t(kind)];
  }
  return text;
}

int64_t size_of(const ModelConfig& config, SizeUnit unit, int64_t bytes_per_weight) {
  const int64_t weights = config.weight_count();
  if (unit == SizeUnit::bytes) return weights * bytes_per_weight;
  return unit == SizeUnit::macs && !config.tied_head ? weights - config.vocab * config.hidden : weights;
}

CutShares shares_within(const SizeLimit& limit, std::span<const UnitKind> kinds, const CutShares& fixed,
                        const ModelConfig& config, int64_t bytes_per_weight) {
  return Search(limit, kinds, fixed, config, bytes_per_weight).run();
}

}  // namespace edgeq
