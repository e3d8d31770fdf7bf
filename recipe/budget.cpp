// SPDX-License-Identifier: Apache-2.0
#include "recipe/budget.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace edgeq {
namespace {

constexpr std::pair<std::string_view, double> kUnits[] = {
    {"", 1}, {"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}};
constexpr double kMostBytes = 1e15;
constexpr std::string_view kBitsUnit = "bpw";

// A decimal number and what follows it, without the blanks between.
struct Quantity {
  double number = 0;
  std::string_view unit;
};

std::optional<Quantity> parse_quantity(std::string_view text) {
  Quantity quantity;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), quantity.number, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(quantity.number)) return std::nullopt;
  quantity.unit = text.substr(size_t(end - text.data()));
  while (quantity.unit.starts_with(' ')) quantity.unit.remove_prefix(1);
  return quantity;
}

}  // namespace

int64_t parse_bytes(std::string_view text) {
  if (const auto quantity = parse_quantity(text))
    for (const auto& [unit, factor] : kUnits) {
      const double bytes = quantity->number * factor;
      if (quantity->unit == unit && bytes >= 1 && bytes <= kMostBytes) return int64_t(bytes);
    }
  throw Error(fmt::format("bytes is \"{}\"; expected a number and a unit, such as 80MB or 1.5GB", text));
}

double parse_bits_per_weight(std::string_view text) {
  const auto quantity = parse_quantity(text);
  if (quantity && quantity->unit.empty() && quantity->number > 0 && quantity->number <= 32)
    return quantity->number;
  throw Error(fmt::format("bits_per_weight is \"{}\"; expected a number above 0, at most 32", text));
}

Budget parse_budget(std::string_view text) {
  if (text.ends_with(kBitsUnit)) {
    std::string_view number = text.substr(0, text.size() - kBitsUnit.size());
    while (number.ends_with(' ')) number.remove_suffix(1);
    return {.bits_per_weight = parse_bits_per_weight(number)};
  }
  return {.bytes = parse_bytes(text)};
}

std::string budget_text(const Budget& budget) {
  return budget.bytes != 0 ? bytes_text(budget.bytes)
                           : fmt::format("{} bits per weight", budget.bits_per_weight);
}

}  // namespace edgeq
