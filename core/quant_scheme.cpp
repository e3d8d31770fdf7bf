// SPDX-License-Identifier: Apache-2.0
#include "core/quant_scheme.h"

#include <fmt/format.h>

#include <charconv>

#include "core/error.h"
#include "core/half.h"
#include "core/text.h"

namespace edgeq {
namespace {

constexpr std::string_view kGrammar =
    "int<2..8>-g<group>|channel-sym|asym|offset[-f16|-f32], or q4_0, q4_1, q8_0; for example int4-g64-sym";

int64_t store_bits(ScaleStore store) { return store == ScaleStore::f16 ? 16 : 32; }

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

double QuantScheme::bits_per_weight(int64_t cols) const {
  int64_t per_group = store_bits(store);
  if (zero == Zero::integer) per_group += 8;
  if (zero == Zero::offset) per_group += store_bits(store);
  return bits + double(per_group * groups(cols)) / double(cols);
}

std::string scheme_text(const QuantScheme& s) {
  static constexpr std::string_view kZero[] = {"sym", "asym", "offset"};
  const std::string group = s.group == 0 ? "channel" : fmt::format("g{}", s.group);
  std::string text = fmt::format("int{}-{}-{}", s.bits, group, kZero[int(s.zero)]);
  const ScaleStore usual = s.group == 0 ? ScaleStore::f32 : ScaleStore::f16;
  if (s.store != usual) text += s.store == ScaleStore::f16 ? "-f16" : "-f32";
  return text;
}

QuantScheme parse_scheme(std::string_view text) {
  if (text == "q4_0") return {.bits = 4, .group = 32};
  if (text == "q4_1") return {.bits = 4, .group = 32, .zero = Zero::offset};
  if (text == "q8_0") return {.bits = 8, .group = 32};
  const auto bad = [&] {
    return Error(fmt::format("scheme \"{}\" is not understood; expected {}", text, kGrammar));
  };
  const auto parts = split(text, '-');
  if (parts.size() < 3 || parts.size() > 4) throw bad();
  QuantScheme scheme;
  if (!parts[0].starts_with("int")) throw bad();
  const auto bits = parse_number(parts[0].substr(3));
  if (!bits || *bits < 2 || *bits > 8) throw bad();
  scheme.bits = int(*bits);
  if (parts[1] == "channel") {
    scheme.group = 0;
    scheme.store = ScaleStore::f32;
  } else {
    const auto group = parts[1].starts_with("g") ? parse_number(parts[1].substr(1)) : std::nullopt;
    if (!group || *group < 1 || *group > (1 << 20)) throw bad();
    scheme.group = *group;
  }
  if (parts[2] == "sym") {
    scheme.zero = Zero::mid;
  } else if (parts[2] == "asym") {
    scheme.zero = Zero::integer;
  } else if (parts[2] == "offset") {
    scheme.zero = Zero::offset;
  } else {
    throw bad();
  }
  if (parts.size() == 4) {
    if (parts[3] != "f16" && parts[3] != "f32") throw bad();
    scheme.store = parts[3] == "f16" ? ScaleStore::f16 : ScaleStore::f32;
  }
  return scheme;
}

float round_to_store(float value, ScaleStore store) {
  return store == ScaleStore::f16 ? round_to_f16(value) : value;
}

}  // namespace edgeq
