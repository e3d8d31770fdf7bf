// SPDX-License-Identifier: Apache-2.0
#include "distill/fake_quant.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"

namespace edgeq {
namespace {

template <class Value>
at::Tensor of_groups(const QuantizedTensor& q, Value&& value) {
  at::Tensor all = at::empty({q.rows, q.groups(), 1}, at::kFloat);
  auto cell = all.accessor<float, 3>();
  for (int64_t r = 0; r < q.rows; ++r)
    for (int64_t g = 0; g < q.groups(); ++g) cell[r][g][0] = float(value(r, g));
  return all;
}

// Of the table, ascending, and the middles between neighbours.
std::pair<at::Tensor, at::Tensor> table_levels() {
  at::Tensor levels = at::empty({int64_t(kIq4nlLevels.size())}, at::kFloat);
  std::copy(kIq4nlLevels.begin(), kIq4nlLevels.end(), levels.data_ptr<float>());
  const int64_t between = levels.numel() - 1;
  return {levels, (levels.narrow(0, 0, between) + levels.narrow(0, 1, between)) / 2};
}

// x rounded to its store, as if it had not been.
at::Tensor stored(const at::Tensor& x, ScaleStore store) {
  at::Tensor rounded = x.detach().clone();
  float* values = rounded.data_ptr<float>();
  std::transform(values, values + rounded.numel(), values, [&](float v) { return round_to_store(v, store); });
  return rounded + (x - x.detach());
}

}  // namespace

FakeQuant::FakeQuant(QuantizedTensor start) : start_(std::move(start)) {
  if (start_.scheme.super_blocks())
    throw Error(
        fmt::format("{} cannot be trained through: its scales are codes under a scale that super-blocks "
                    "share",
                    scheme_text(start_.scheme)))
        .set_hint("expected scales of their own, such as int4-g64-sym, or codes over a row's scale (s8)");
  start_.codes.clear();
  const QuantScheme& scheme = start_.scheme;
  if (scheme.two_level()) {
    base_ = of_groups(
        start_, [&](int64_t r, int64_t g) { return start_.scale_codes[size_t(r * start_.groups() + g)]; });
    outer_ = at::from_blob(start_.outer_scales.data(), {start_.rows, 1, 1}, at::kFloat).clone();
  } else {
    base_ = of_groups(start_, [&](int64_t r, int64_t g) { return start_.scale(r, g); });
  }
  zeros_ = of_groups(start_, [&](int64_t r, int64_t g) { return start_.zero(r, g); });
  offsets_ = of_groups(start_, [&](int64_t r, int64_t g) { return start_.offset(r, g); });
  const bool table = scheme.levels != Levels::uniform;
  low_ = (table ? float(kIq4nlLevels.front()) : float(scheme.min_code())) - zeros_;
  high_ = (table ? float(kIq4nlLevels.back()) : float(scheme.max_code())) - zeros_;
}

at::Tensor FakeQuant::initial_factors() const {
  return at::zeros({start_.rows, start_.scheme.two_level() ? 1 : start_.groups()}, at::kFloat);
}

at::Tensor FakeQuant::scales(const at::Tensor& factors) const {
  const at::Tensor moved = (1 + factors).unsqueeze(2);
  return start_.scheme.two_level() ? stored(outer_ * moved, start_.scheme.store) * base_
                                   : stored(base_ * moved, start_.scheme.store);
}

at::Tensor FakeQuant::steps(const at::Tensor& weight, const at::Tensor& scales) const {
  const at::Tensor groups = weight.view({start_.rows, start_.groups(), -1}) - offsets_;
  // A group whose scale is 0 has one value, whatever its codes are.
  return groups / at::where(scales.eq(0), at::ones({}, at::kFloat), scales);
}

at::Tensor FakeQuant::levels(const at::Tensor& steps) const {
  const c10::AutoGradMode off(false);
  if (start_.scheme.levels == Levels::uniform) return at::minimum(at::maximum(at::round(steps), low_), high_);
  static const auto table = table_levels();
  return table.first.index({at::bucketize(steps.detach().contiguous(), table.second)});
}

at::Tensor FakeQuant::operator()(const at::Tensor& weight, const at::Tensor& factors) const {
  const at::Tensor scale = scales(factors), v = steps(weight, scale);
  const at::Tensor inside = at::minimum(at::maximum(v, low_), high_);
  // The level in value, `inside` in gradient.
  const at::Tensor level = levels(v.detach()) + (inside - inside.detach());
  return (scale * level + offsets_).view(weight.sizes());
}

QuantizedTensor FakeQuant::codes(const at::Tensor& weight, const at::Tensor& factors) const {
  const c10::AutoGradMode off(false);
  QuantizedTensor q(start_.scheme, start_.rows, start_.cols);
  q.zeros = start_.zeros;
  q.offsets = start_.offsets;
  q.scale_codes = start_.scale_codes;
  const at::Tensor scale = scales(factors);
  if (start_.scheme.two_level()) {
    q.outer_scales = start_.outer_scales;
    for (int64_t r = 0; r < q.rows; ++r) {
      float& outer = q.outer_scales[size_t(r)];
      outer = round_to_store(outer * (1 + factors.data_ptr<float>()[r]), start_.scheme.store);
    }
  } else {
    std::copy_n(scale.contiguous().data_ptr<float>(), q.scales.size(), q.scales.begin());
  }
  const at::Tensor v = steps(weight, scale);
  const at::Tensor code = start_.scheme.levels == Levels::uniform
                              ? levels(v) + zeros_
                              : at::bucketize(v.contiguous(), table_levels().second).to(at::kFloat);
  const at::Tensor rows = code.contiguous().view({q.rows, q.cols});
  std::vector<uint8_t> row(size_t(q.cols));
  for (int64_t r = 0; r < q.rows; ++r) {
    const float* from = rows.data_ptr<float>() + r * q.cols;
    std::transform(from, from + q.cols, row.begin(), [](float c) { return uint8_t(c); });
    q.set_codes(r, row);
  }
  return q;
}

}  // namespace edgeq
