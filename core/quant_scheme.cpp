// SPDX-License-Identifier: Apache-2.0
#include "core/quant_scheme.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <span>

#include "core/error.h"
#include "core/half.h"
#include "core/text.h"

namespace edgeq {
namespace {

constexpr std::string_view kGrammar =
    "int<2..8>-g<group>|channel-sym|asym|offset[-f16|-f32], int<2..8>-g<group>[-asym]-s8, "
    "iq4nl-g<group>|channel[-f16|-f32|-s8], or a GGUF block (q4_0, q4_1, q5_0, q5_1, q8_0, iq4_nl, q4_k, "
    "q5_k, q6_k); for example int4-g64-sym";

struct Named {
  std::string_view name;
  QuantScheme scheme;
};
constexpr Named kBlocks[] = {
    {"q4_0", {.bits = 4, .group = 32}},
    {"q4_1", {.bits = 4, .group = 32, .zero = Zero::offset}},
    {"q5_0", {.bits = 5, .group = 32}},
    {"q5_1", {.bits = 5, .group = 32, .zero = Zero::offset}},
    {"q8_0", {.bits = 8, .group = 32}},
    {"iq4_nl", {.levels = Levels::iq4nl, .bits = 4, .group = 32}},
    {"q4_k", {.bits = 4, .group = 32, .zero = Zero::offset, .store = ScaleStore::u6_super}},
    {"q5_k", {.bits = 5, .group = 32, .zero = Zero::offset, .store = ScaleStore::u6_super}},
    {"q6_k", {.bits = 6, .group = 16, .store = ScaleStore::s8_super}},
};

constexpr std::string_view kZeroNames[] = {"sym", "asym", "offset"};
constexpr std::string_view kStoreNames[] = {"f16", "f32", "s8"};  // those that the grammar spells out

int64_t store_bits(ScaleStore store) { return store == ScaleStore::f16 ? 16 : 32; }

ScaleStore usual_store(int64_t group) { return group == 0 ? ScaleStore::f32 : ScaleStore::f16; }

// Whether the text leaves the kind of zero out.
bool implies_sym(Levels levels, ScaleStore store) {
  return levels != Levels::uniform || store == ScaleStore::s8_row;
}

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The enumerator whose name is the first of `parts`, which is then taken off.
template <class T, size_t N>
std::optional<T> take(const std::string_view (&names)[N], std::span<const std::string_view>& parts) {
  for (size_t i = 0; i < N; ++i) {
    if (parts.empty() || parts.front() != names[i]) continue;
    parts = parts.subspan(1);
    return T(uint8_t(i));
  }
  return std::nullopt;
}

bool take_levels(QuantScheme& scheme, std::span<const std::string_view>& parts) {
  if (parts.empty()) return false;
  const std::string_view word = parts.front();
  parts = parts.subspan(1);
  if (word == "iq4nl") {
    scheme.levels = Levels::iq4nl;
    return true;
  }
  const auto bits = word.starts_with("int") ? parse_number(word.substr(3)) : std::nullopt;
  if (!bits || *bits < 2 || *bits > 8) return false;
  scheme.bits = int(*bits);
  return true;
}

bool take_group(QuantScheme& scheme, std::span<const std::string_view>& parts) {
  if (parts.empty()) return false;
  const std::string_view word = parts.front();
  parts = parts.subspan(1);
  if (word == "channel") return true;  // group 0
  const auto group = word.starts_with("g") ? parse_number(word.substr(1)) : std::nullopt;
  if (!group || *group < 1 || *group > (1 << 20)) return false;
  scheme.group = *group;
  return true;
}

// Combinations that are spelled right and do not exist.
bool exists(const QuantScheme& s) {
  if (s.levels != Levels::uniform && s.zero != Zero::mid) return false;
  return s.store != ScaleStore::s8_row || (s.group != 0 && s.zero != Zero::offset);
}

std::optional<QuantScheme> parse_parts(std::span<const std::string_view> parts) {
  QuantScheme scheme;
  if (!take_levels(scheme, parts) || !take_group(scheme, parts)) return std::nullopt;
  const auto zero = take<Zero>(kZeroNames, parts);
  scheme.store = take<ScaleStore>(kStoreNames, parts).value_or(usual_store(scheme.group));
  if (!parts.empty() || (!zero && !implies_sym(scheme.levels, scheme.store))) return std::nullopt;
  scheme.zero = zero.value_or(Zero::mid);
  return exists(scheme) ? std::optional(scheme) : std::nullopt;
}

}  // namespace

int64_t QuantScheme::side_bits(int64_t cols) const {
  int64_t per_group = zero == Zero::integer ? 8 : 0;
  switch (store) {
    case ScaleStore::f16:
    case ScaleStore::f32:
      per_group += store_bits(store) * (zero == Zero::offset ? 2 : 1);
      return per_group * groups(cols);
    case ScaleStore::s8_row: return (per_group + 8) * groups(cols) + 32;
    case ScaleStore::u6_super: return (per_group + 12) * groups(cols) + 32 * outers(cols);
    case ScaleStore::s8_super: return (per_group + 8) * groups(cols) + 16 * outers(cols);
  }
  return 0;
}

double QuantScheme::bits_per_weight(int64_t cols) const {
  return bits + double(side_bits(cols)) / double(cols);
}

void check_columns(const QuantScheme& scheme, int64_t cols) {
  if (scheme.super_blocks() && cols % kSuperBlock != 0)
    throw Error(fmt::format("{} has super-blocks of {}, which do not divide {} columns", scheme_text(scheme),
                            kSuperBlock, cols));
  if (scheme.group != 0 && cols % scheme.group != 0)
    throw Error(fmt::format("group {} does not divide {} columns", scheme.group, cols));
}

std::string scheme_text(const QuantScheme& s) {
  if (s.super_blocks())
    for (const Named& block : kBlocks)
      if (block.scheme == s) return std::string(block.name);
  EDGEQ_CHECK(!s.super_blocks(), "super-blocks are those of GGUF");
  std::string text = s.levels == Levels::uniform ? fmt::format("int{}", s.bits) : "iq4nl";
  text += s.group == 0 ? "-channel" : fmt::format("-g{}", s.group);
  if (s.zero != Zero::mid || !implies_sym(s.levels, s.store))
    text += fmt::format("-{}", kZeroNames[size_t(s.zero)]);
  if (s.store != usual_store(s.group)) text += fmt::format("-{}", kStoreNames[size_t(s.store)]);
  return text;
}

QuantScheme parse_scheme(std::string_view text) {
  for (const Named& block : kBlocks)
    if (block.name == text) return block.scheme;
  const std::vector<std::string_view> parts = split(text, '-');
  if (const auto scheme = parse_parts(parts)) return *scheme;
  throw Error(fmt::format("scheme \"{}\" is not understood; expected {}", text, kGrammar));
}

float round_to_store(float value, ScaleStore store) {
  switch (store) {
    case ScaleStore::f32:
    case ScaleStore::s8_row: return value;
    case ScaleStore::f16:
    case ScaleStore::u6_super:
    case ScaleStore::s8_super: break;
  }
  return round_to_f16(value);
}

}  // namespace edgeq
