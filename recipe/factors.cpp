// SPDX-License-Identifier: Apache-2.0
#include "recipe/factors.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"

namespace edgeq {
namespace {

// Groups of a row that share a factor.
int64_t groups_per_factor(const QuantizedTensor& q, const Tuning& tuning) {
  if (q.scheme.two_level()) return q.scheme.outer_size(q.cols) / q.scheme.group_size(q.cols);
  return tuning.scales == Tuning::Scales::rows ? q.groups() : 1;
}

int64_t scale_factors(const QuantizedTensor& q, const Tuning& tuning) {
  return tuning.scales == Tuning::Scales::none ? 0 : q.rows * q.groups() / groups_per_factor(q, tuning);
}

bool trains_offsets(const QuantizedTensor& q, const Tuning& tuning) {
  return tuning.offsets && q.scheme.zero == Zero::offset;
}

int64_t site_factors(const QuantizedTensor& q, const Tuning& tuning) {
  return scale_factors(q, tuning) * (trains_offsets(q, tuning) ? 2 : 1);
}

// The embedding's part holds more than norms where positions are learned; those are looked up, not scaled.
bool trains(const NamedTensor& vector, const Tuning& tuning) {
  return tuning.norms && vector.name.find("norm") != std::string::npos;
}

// Tables are read by two products where they are tied, and codes of 6 or 8 bits lose next to nothing.
bool trains(const SiteResult& site) { return site.quantized && site.name.starts_with("layers."); }

void set_stored(float& value, float moved, ScaleStore store, Stored stored) {
  if (stored == Stored::rounded) moved = round_to_store(moved, store);
  if (std::isfinite(moved)) value = moved;
}

void move_site(QuantizedTensor& q, std::span<const float> p, std::span<const float> offsets,
               const Tuning& tuning, Stored stored) {
  const auto share = size_t(groups_per_factor(q, tuning));
  const auto store = q.scheme.store;
  // Offsets first: they move in units of the scale that was.
  if (q.scheme.two_level()) {
    for (size_t i = 0; i < offsets.size(); ++i)
      set_stored(q.outer_offsets[i], q.outer_offsets[i] * (1 + offsets[i]), store, stored);
    for (size_t i = 0; i < p.size(); ++i)
      set_stored(q.outer_scales[i], q.outer_scales[i] * (1 + p[i]), store, stored);
    return;
  }
  if (!offsets.empty())
    for (size_t i = 0; i < q.offsets.size(); ++i)
      set_stored(q.offsets[i], q.offsets[i] + q.scales[i] * offsets[i / share], store, stored);
  for (size_t i = 0; i < q.scales.size(); ++i)
    set_stored(q.scales[i], q.scales[i] * (1 + p[i / share]), store, stored);
}

void site_gradients(const QuantizedTensor& q, MatrixView<const float> weight, std::span<float> p,
                    std::span<float> offsets, const Tuning& tuning) {
  const int64_t groups = q.groups(), size = q.scheme.group_size(q.cols);
  const int64_t share = groups_per_factor(q, tuning);
  std::vector<uint8_t> codes(size_t(q.cols));
  for (int64_t r = 0; r < q.rows; ++r) {
    q.get_codes(r, codes);
    for (int64_t g = 0; g < groups; ++g) {
      const int zero = q.zero(r, g);
      const float* gradient = weight.row(r) + g * size;
      float by_scale = 0, by_offset = 0;
      for (int64_t c = 0; c < size; ++c) {
        by_scale += gradient[c] * float(q.scheme.level(codes[size_t(g * size + c)]) - zero);
        by_offset += gradient[c];
      }
      const auto at = size_t((r * groups + g) / share);
      p[at] += q.scale(r, g) * by_scale;
      if (!offsets.empty())
        offsets[at] += (q.scheme.two_level() ? q.offset(r, g) : q.scale(r, g)) * by_offset;
    }
  }
}

// Calls on_site(index, scales, offsets) and on_vector(index, factors) with the numbers of each.
template <class T, class OnSite, class OnVector>
void for_each_trained(const PartResult& part, const Tuning& tuning, std::span<T> numbers, OnSite&& on_site,
                      OnVector&& on_vector) {
  size_t next = 0;
  const auto take = [&](int64_t count) {
    next += size_t(count);
    return numbers.subspan(next - size_t(count), size_t(count));
  };
  for (size_t s = 0; s < part.sites.size(); ++s) {
    if (!trains(part.sites[s])) continue;
    const QuantizedTensor& q = *part.sites[s].quantized;
    const int64_t scales = scale_factors(q, tuning);
    const std::span<T> of_scales = take(scales);
    on_site(s, of_scales, take(site_factors(q, tuning) - scales));
  }
  for (size_t v = 0; v < part.vectors.size(); ++v)
    if (trains(part.vectors[v], tuning)) on_vector(v, take(part.vectors[v].tensor.size()));
  EDGEQ_CHECK(next == numbers.size(), "a part has as many numbers as factor_count says");
}

}  // namespace

int64_t factor_count(const PartResult& part, const Tuning& tuning) {
  int64_t count = 0;
  for (const SiteResult& site : part.sites)
    if (trains(site)) count += site_factors(*site.quantized, tuning);
  for (const NamedTensor& vector : part.vectors)
    if (trains(vector, tuning)) count += vector.tensor.size();
  return count;
}

void move_by_factors(PartResult& part, std::span<const float> factors, const Tuning& tuning, Stored stored) {
  for_each_trained(
      part, tuning, factors,
      [&](size_t s, std::span<const float> scales, std::span<const float> offsets) {
        if (!scales.empty()) move_site(*part.sites[s].quantized, scales, offsets, tuning, stored);
      },
      [&](size_t v, std::span<const float> p) {
        float* gain = part.vectors[v].tensor.f32();
        for (size_t i = 0; i < p.size(); ++i)
          set_stored(gain[i], gain[i] * (1 + p[i]), ScaleStore::f32, stored);
      });
}

void factor_gradients(const PartResult& part, std::span<const Tensor> sites, std::span<const Tensor> vectors,
                      const Tuning& tuning, std::span<float> out) {
  std::ranges::fill(out, 0.0f);
  for_each_trained(
      part, tuning, out,
      [&](size_t s, std::span<float> scales, std::span<float> offsets) {
        if (!scales.empty() && !sites[s].empty())
          site_gradients(*part.sites[s].quantized, sites[s].matrix(), scales, offsets, tuning);
      },
      [&](size_t v, std::span<float> p) {
        if (vectors[v].empty()) return;
        const float* gain = part.vectors[v].tensor.f32();
        for (size_t i = 0; i < p.size(); ++i) p[i] = gain[i] * vectors[v].f32()[i];
      });
}

}  // namespace edgeq
