// SPDX-License-Identifier: Apache-2.0
#include "quantizers/grid.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/half.h"
#include "tests/quantizers/samples.h"

namespace edgeq {
namespace {

std::vector<float> random_group(size_t count, uint64_t seed, double shift = 0) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = float(random.normal() + shift);
  return values;
}

// Largest excess of |w - value| over half a step (a whole one beyond the short end of a symmetric grid,
// -8..7), plus what rounding scale and offset to their stores costs: up to 2^-11 of every level between zero
// and w, and of the offset.
double worst_excess(const QuantScheme& scheme, const GroupGrid& grid, const std::vector<float>& values) {
  const double step = std::abs(double(grid.scale));
  const double slack = step * (scheme.max_code() * 0x1p-11 + 1e-6) + std::abs(double(grid.offset)) * 0x1p-11;
  const double last = double(code_value(grid, scheme.max_code()));
  double worst = -1e9;
  for (float w : values) {
    const bool beyond_short_end = scheme.zero == Zero::mid && double(w) / last > 1;
    const double error = std::abs(double(w) - double(code_value(grid, round_to_code(scheme, grid, w))));
    worst = std::max(worst, error - (beyond_short_end ? 1 : 0.5) * step - slack);
  }
  return worst;
}

TEST(Grid, EveryValueIsWithinHalfAStep) {
  for (const std::string& text : all_schemes()) {
    const QuantScheme scheme = parse_scheme(text);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const auto values = random_group(64, seed, double(seed % 3));
      GroupGrid grid = choose_grid(scheme, values, {}, GridSearch::none);
      EXPECT_LE(worst_excess(scheme, grid, values), 0) << text << " seed " << seed;
      grid.scale *= 0.5f;  // control: half the range is clipped
      EXPECT_GT(worst_excess(scheme, grid, values), 0) << text << " seed " << seed;
    }
  }
}

TEST(Grid, RoundsToTheNearestOfAllAllowedCodes) {
  Random random(3);
  for (const char* text : {"int2-g32-sym", "int4-g32-asym", "int5-g32-offset", "int8-g32-sym"}) {
    const QuantScheme scheme = parse_scheme(text);
    const GroupGrid grid = choose_grid(scheme, random_group(32, 11), {}, GridSearch::none);
    for (int i = 0; i < 500; ++i) {
      const auto w = float(2 * random.normal());
      const int code = round_to_code(scheme, grid, w);
      ASSERT_GE(code, scheme.min_code());
      ASSERT_LE(code, scheme.max_code());
      for (int other = scheme.min_code(); other <= scheme.max_code(); ++other)
        ASSERT_LE(std::abs(w - code_value(grid, code)), std::abs(w - code_value(grid, other)) + 1e-6f)
            << text;
    }
  }
}

TEST(Grid, ScalesAndOffsetsAreExactInTheirStore) {
  for (const char* text : {"int4-g32-sym", "int3-g32-asym", "int4-g32-offset", "int8-g32-sym"}) {
    const QuantScheme scheme = parse_scheme(text);
    for (GridSearch search : {GridSearch::none, GridSearch::mse}) {
      const GroupGrid grid = choose_grid(scheme, random_group(32, 5), {}, search);
      EXPECT_EQ(grid.scale, round_to_f16(grid.scale)) << text;
      EXPECT_EQ(grid.offset, round_to_f16(grid.offset)) << text;
    }
  }
}

TEST(Grid, AGroupOfZerosIsZeroEverywhere) {
  const std::vector<float> zeros(32, 0.0f);
  for (const std::string& text : all_schemes()) {
    const QuantScheme scheme = parse_scheme(text);
    for (GridSearch search : {GridSearch::none, GridSearch::mse}) {
      const GroupGrid grid = choose_grid(scheme, zeros, {}, search);
      EXPECT_EQ(code_value(grid, round_to_code(scheme, grid, 0.0f)), 0.0f) << text;
      EXPECT_GE(int(round_to_code(scheme, grid, 0.0f)), scheme.min_code()) << text;
    }
  }
}

TEST(Grid, AConstantGroupIsMetToTheStoresPrecision) {
  for (const std::string& text : all_schemes()) {
    const QuantScheme scheme = parse_scheme(text);
    for (float constant : {0.37f, -0.37f}) {
      const std::vector<float> values(32, constant);
      for (GridSearch search : {GridSearch::none, GridSearch::mse}) {
        const GroupGrid grid = choose_grid(scheme, values, {}, search);
        // The value is an extreme, so it lies a whole number of scales from zero, each off by at most 2^-11
        // of itself.
        EXPECT_NEAR(code_value(grid, round_to_code(scheme, grid, constant)), constant, 0.37 * 0x1p-11)
            << text;
      }
    }
  }
}

TEST(Grid, AScaleBelowTheStoresSmallestStillSeparatesValues) {
  const QuantScheme scheme = parse_scheme("int4-g32-sym");
  // -2e-7 / 8 rounds to 0 in f16; the smallest half, 2^-24 = 6e-8, still resolves it.
  std::vector<float> values(32, 1e-9f);
  values[3] = -2e-7f;
  for (GridSearch search : {GridSearch::none, GridSearch::mse}) {
    const GroupGrid grid = choose_grid(scheme, values, {}, search);
    EXPECT_EQ(std::abs(grid.scale), 0x1p-24f);
    EXPECT_NEAR(code_value(grid, round_to_code(scheme, grid, values[3])), values[3], 0x1p-25);
    EXPECT_EQ(code_value(grid, round_to_code(scheme, grid, values[4])), 0.0f);
  }
}

TEST(Grid, HugeAndTinyValuesNeverGiveNanOrInfinity) {
  for (const std::string& text : all_schemes()) {
    const QuantScheme scheme = parse_scheme(text);
    for (double magnitude : {1e-45, 1e-40, 1e-30, 1e-8, 1e6, 1e20, 3e38}) {
      auto values = random_group(32, 9);
      for (float& value : values) value = float(std::clamp(double(value) / 3, -1.0, 1.0) * magnitude);
      for (GridSearch search : {GridSearch::none, GridSearch::mse}) {
        const GroupGrid grid = choose_grid(scheme, values, {}, search);
        ASSERT_TRUE(std::isfinite(grid.scale) && std::isfinite(grid.offset)) << text << " " << magnitude;
        ASSERT_EQ(grid.scale, round_to_store(grid.scale, scheme.store)) << text << " " << magnitude;
      }
    }
  }
}

TEST(Grid, TheSearchIsNeverWorseThanTheExtremes) {
  for (const std::string& text : all_schemes()) {
    const QuantScheme scheme = parse_scheme(text);
    double with = 0, without = 0;
    for (uint64_t seed = 0; seed < 10; ++seed) {
      auto values = random_group(32, seed);
      auto importance = random_group(32, seed + 100);
      for (float& h : importance) h = h * h;
      values[seed] *= 3;  // an outlier is worth clipping on narrow grids
      const GroupGrid plain = choose_grid(scheme, values, importance, GridSearch::none);
      const GroupGrid searched = choose_grid(scheme, values, importance, GridSearch::mse);
      const double error = grid_error(scheme, searched, values, importance);
      EXPECT_LE(error, grid_error(scheme, plain, values, importance)) << text;
      with += error;
      without += grid_error(scheme, plain, values, importance);
    }
    EXPECT_LT(with, without) << text;
  }
}

// Least error over a fine scan of scales, codes nearest, as no closed form would see it.
double scan_scales(const QuantScheme& scheme, const std::vector<float>& values,
                   const std::vector<float>& importance) {
  double least = 1e30;
  const double top = double(*std::max_element(values.begin(), values.end(),
                                              [](float a, float b) { return std::abs(a) < std::abs(b); }));
  for (int step = 1; step <= 3000; ++step) {
    for (double sign : {-1.0, 1.0}) {
      const float scale =
          round_to_store(float(sign * std::abs(top) * 2.0 * step / 3000 / scheme.mid_code()), scheme.store);
      if (scale == 0) continue;
      least = std::min(least,
                       grid_error(scheme, {.scale = scale, .zero = scheme.mid_code()}, values, importance));
    }
  }
  return least;
}

TEST(Grid, TheSearchComesCloseToAFineScanOfAllScales) {
  constexpr double kSearchOverScan = 1.01;  // measured over 300 groups: 1.0001, 1.0002 and 1.0042
  for (const char* text : {"int2-g32-sym", "int3-g32-sym", "int4-g32-sym"}) {
    const QuantScheme scheme = parse_scheme(text);
    double searched = 0, scanned = 0, plain = 0;
    for (uint64_t seed = 0; seed < 40; ++seed) {
      const auto values = random_group(32, seed);
      auto importance = random_group(32, seed + 500);
      for (float& h : importance) h = std::exp(h);
      searched +=
          grid_error(scheme, choose_grid(scheme, values, importance, GridSearch::mse), values, importance);
      plain +=
          grid_error(scheme, choose_grid(scheme, values, importance, GridSearch::none), values, importance);
      scanned += scan_scales(scheme, values, importance);
    }
    EXPECT_LE(searched, kSearchOverScan * scanned) << text << " " << searched / scanned;
    EXPECT_GT(plain, kSearchOverScan * scanned) << text;  // control
  }
}

TEST(Grid, AllZeroImportanceCountsAsEqualImportance) {
  const QuantScheme scheme = parse_scheme("int3-g32-asym");
  const auto values = random_group(32, 2);
  const std::vector<float> none(32, 0.0f);
  const GroupGrid with = choose_grid(scheme, values, none, GridSearch::mse);
  const GroupGrid without = choose_grid(scheme, values, {}, GridSearch::mse);
  EXPECT_EQ(with.scale, without.scale);
  EXPECT_EQ(with.zero, without.zero);
}

}  // namespace
}  // namespace edgeq
