// SPDX-License-Identifier: Apache-2.0
// Coordinate descent on the codes: one sweep over the columns moves each weight to the grid's value nearest
// to what is best for it while all others stay,
//   t = w_c + ((target - w) H')_c / H'_cc
// As QuantEase (arXiv 2309.01885) and CDQuant (arXiv 2406.17542). Few codes change after GPTQ, so that a
// sweep costs about as much as the gradient it starts from.
#include "quantizers/methods.h"
#include "quantizers/refine_rows.h"

namespace edgeq {
namespace {

void polish_row(const QuantScheme& scheme, MatrixView<const float> damped, RefinedRow& row) {
  const int64_t group = scheme.group_size(damped.cols);
  for (int64_t c = 0; c < damped.cols; ++c) {
    const GroupGrid& grid = row.grids[size_t(c / group)];
    float &value = row.values[size_t(c)], &gradient = row.gradient[size_t(c)];
    const float curvature = damped(c, c);
    const uint8_t code = round_to_code(scheme, grid, value + gradient / curvature);
    if (code == row.codes[size_t(c)]) continue;
    const float step = code_value(scheme, grid, code) - value;
    if (!(step * (step * curvature - 2 * gradient) < 0)) continue;
    row.codes[size_t(c)] = code;
    value += step;
    const float* h = damped.row(c);
    for (int64_t k = 0; k < damped.cols; ++k) row.gradient[size_t(k)] -= step * h[k];
  }
}

class Polish final : public Refiner {
 public:
  void refine(QuantizedTensor& q, MatrixView<const float> target, const InputStats& stats) const override {
    refine_rows(q, target, stats, polish_row);
  }
};

}  // namespace

std::unique_ptr<Refiner> make_polish() { return std::make_unique<Polish>(); }

}  // namespace edgeq
