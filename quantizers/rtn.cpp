// SPDX-License-Identifier: Apache-2.0
// Round to nearest: every group gets a grid, every weight the nearest code. Needs no calibration, except that
// the search for the grid may be weighted by what calibration says about the inputs.
#include <fmt/format.h>

#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "quantizers/grid.h"
#include "quantizers/methods.h"

namespace edgeq {
namespace {

enum class Search : uint8_t { none, mse, weighted };

// h_j = mean x_j^2: what an error of weight j costs when inputs do not correlate. A hundredth of the average
// keeps an input in play that calibration happened not to see.
std::vector<float> input_energy(const InputStats& stats, int64_t cols) {
  if (stats.width() != cols)
    throw Error(fmt::format("rtn with search: weighted has statistics of {} inputs; expected {}",
                            stats.width(), cols));
  const float* mean = stats.square_mean.f32();
  double average = 0;
  for (int64_t j = 0; j < cols; ++j) average += double(mean[j]) / double(cols);
  std::vector<float> energy(mean, mean + cols);
  for (float& value : energy) value += float(0.01 * average);
  return energy;
}

class Rtn final : public Quantizer {
 public:
  Rtn(const QuantScheme& scheme, Search search, int least_zero)
      : scheme_(scheme), search_(search), least_zero_(least_zero) {}

  unsigned needs() const override { return search_ == Search::weighted ? kNeedMoments : kNeedNothing; }

  QuantizeResult quantize(MatrixView<const float> target, const InputStats& stats) const override {
    require_finite(target);
    QuantizeResult result{.weight = QuantizedTensor(scheme_, target.rows, target.cols), .notes = {}};
    const std::vector<float> importance =
        search_ == Search::weighted ? input_energy(stats, target.cols) : std::vector<float>();
    parallel_for(
        target.rows, [&](int64_t r) { round_row(target, r, importance, result.weight); }, 16);
    return result;
  }

 private:
  void round_row(MatrixView<const float> target, int64_t r, std::span<const float> importance,
                 QuantizedTensor& out) const {
    const GridSearch search = search_ == Search::none ? GridSearch::none : GridSearch::mse;
    const auto group = size_t(scheme_.group_size(target.cols));
    const std::span<const float> row(target.row(r), size_t(target.cols));
    const auto outer_size = size_t(scheme_.outer_size(target.cols));
    const auto importance_of = [&](size_t first, size_t count) {
      return importance.empty() ? importance : importance.subspan(first, count);
    };
    std::vector<uint8_t> codes(row.size());
    OuterGrid outer;
    for (size_t g = 0; g < row.size() / group; ++g) {
      const size_t first = g * group;
      if (scheme_.two_level() && first % outer_size == 0) {
        outer = choose_outer(scheme_, int64_t(group), row.subspan(first, outer_size),
                             importance_of(first, outer_size), search, 1);
        set_outer(out, r, int64_t(g), outer);
      }
      const auto values = row.subspan(first, group);
      const GroupGrid grid =
          choose_grid(scheme_, values, importance_of(first, group), search, outer, least_zero_);
      set_grid(out, r, int64_t(g), grid);
      for (size_t j = 0; j < group; ++j) codes[first + j] = round_to_code(scheme_, grid, values[j]);
    }
    out.set_codes(r, codes);
  }

  QuantScheme scheme_;
  Search search_;
  int least_zero_;
};

}  // namespace

std::unique_ptr<Quantizer> make_rtn(const QuantScheme& scheme, const Options& options) {
  const auto search = choice<Search>(
      options, "search", {{"none", Search::none}, {"mse", Search::mse}, {"weighted", Search::weighted}});
  return std::make_unique<Rtn>(scheme, search, least_zero_option(options));
}

}  // namespace edgeq
