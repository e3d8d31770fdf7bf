// SPDX-License-Identifier: Apache-2.0
#include "models/carry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace edgeq {
namespace {

bool is_flat(ScaleStore store) { return store == ScaleStore::f16 || store == ScaleStore::f32; }

bool centred(const QuantScheme& scheme) { return scheme.zero == Zero::mid; }

// What is added to a code so that code - zero stays.
int code_shift(const QuantScheme& from, const QuantScheme& to) {
  return to.zero == Zero::offset ? 0 : to.mid_code() - from.mid_code();
}

float stored(float value, ScaleStore store, std::string_view what) {
  const float rounded = round_to_store(value, store);
  if (!std::isfinite(rounded) || (rounded == 0 && value != 0))
    throw Error(fmt::format("a {} of {} is beyond what the file's type holds", what, value));
  return rounded;
}

void carry_groups(const QuantizedTensor& from, QuantizedTensor& to) {
  const QuantScheme& scheme = to.scheme;
  const int64_t repeat = to.groups() / from.groups();
  const int shift = code_shift(from.scheme, scheme);
  for (int64_t r = 0; r < to.rows; ++r)
    for (int64_t g = 0; g < to.groups(); ++g) {
      const auto at = size_t(r * to.groups() + g);
      const int64_t source = g / repeat;
      const float scale = from.scale(r, source);
      to.scales[at] = stored(scale, scheme.store, "scale");
      if (scheme.zero == Zero::integer) to.zeros[at] = uint8_t(from.zero(r, source) + shift);
      if (scheme.zero != Zero::offset) continue;
      const float offset =
          from.scheme.zero == Zero::offset ? from.offset(r, source) : -float(from.zero(r, source)) * scale;
      to.offsets[at] = stored(offset, scheme.store, "offset");
    }
}

void carry_codes(const QuantizedTensor& from, QuantizedTensor& to) {
  if (from.scheme.bits == to.scheme.bits) {
    to.codes = from.codes;
    return;
  }
  const int shift = code_shift(from.scheme, to.scheme);
  std::vector<uint8_t> row(size_t(from.cols));
  for (int64_t r = 0; r < from.rows; ++r) {
    from.get_codes(r, row);
    for (uint8_t& code : row) code = uint8_t(code + shift);
    to.set_codes(r, row);
  }
}

}  // namespace

std::string carry_obstacle(const QuantScheme& from, const QuantScheme& to, int64_t cols) {
  if (from == to) return "";
  const int64_t have = from.group_size(cols), want = to.group_size(cols);
  if (from.levels != to.levels) return "the codes stand for other levels";
  if (!is_flat(to.store)) return "its scales are codes themselves";
  if (want > have || have % want != 0)
    return fmt::format("groups of {} cannot become groups of {}", have, want);
  if (to.bits < from.bits) return fmt::format("{}-bit codes do not fit in {} bits", from.bits, to.bits);
  if (centred(to) && !centred(from)) return "its grid is symmetric and the codes' is not";
  if (to.zero == Zero::integer && from.zero == Zero::offset)
    return "its zero points are whole numbers and the codes' offsets are not";
  return "";
}

bool carry_may_round(const QuantScheme& from, const QuantScheme& to) {
  if (from == to) return false;
  const bool narrower = to.store == ScaleStore::f16 && from.store != ScaleStore::f16;
  return narrower || (to.zero == Zero::offset && from.zero != Zero::offset);
}

QuantizedTensor carry(const QuantizedTensor& from, const QuantScheme& to) {
  EDGEQ_CHECK(carry_obstacle(from.scheme, to, from.cols).empty(), "codes are carried where they can be kept");
  if (from.scheme == to) return from;
  QuantizedTensor carried(to, from.rows, from.cols);
  carry_groups(from, carried);
  carry_codes(from, carried);
  return carried;
}

double largest_difference(const CodedWeight& a, const CodedWeight& b) {
  EDGEQ_CHECK(a.rows() == b.rows() && a.cols() == b.cols(), "weights of one shape are compared");
  double largest = 0;
  constexpr int64_t kRows = 64;  // at a time: two small pieces of float
  for (int64_t r = 0; r < a.rows(); r += kRows) {
    const int64_t count = std::min(kRows, a.rows() - r);
    const Tensor x = dequantize(a, r, count), y = dequantize(b, r, count);
    for (int64_t i = 0; i < x.size(); ++i) {
      if (x.f32()[i] == y.f32()[i]) continue;
      const double difference = std::abs(double(x.f32()[i]) - double(y.f32()[i]));
      if (!(difference <= largest)) largest = difference;  // infinite where a weight overflowed
    }
  }
  return largest;
}

}  // namespace edgeq
