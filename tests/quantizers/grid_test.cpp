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
  const double last = double(code_value(scheme, grid, scheme.max_code()));
  double worst = -1e9;
  for (float w : values) {
    const bool beyond_short_end = scheme.zero == Zero::mid && double(w) / last > 1;
    const double error =
        std::abs(double(w) - double(code_value(scheme, grid, round_to_code(scheme, grid, w))));
    worst = std::max(worst, error - (beyond_short_end ? 1 : 0.5) * step - slack);
  }
  return worst;
}

TEST(Grid, EveryValueIsWithinHalfAStep) {
  for (const std::string& text : all_schemes()) {
    const QuantScheme scheme = parse_scheme(text);
    if (scheme.levels != Levels::uniform) continue;
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
  for (const char* text : {"int2-g32-sym", "int4-g32-asym", "int5-g32-offset", "int8-g32-sym", "iq4_nl"}) {
    const QuantScheme scheme = parse_scheme(text);
    const GroupGrid grid = choose_grid(scheme, random_group(32, 11), {}, GridSearch::none);
    for (int i = 0; i < 500; ++i) {
      const auto w = float(2 * random.normal());
      const int code = round_to_code(scheme, grid, w);
      ASSERT_GE(code, scheme.min_code());
      ASSERT_LE(code, scheme.max_code());
      for (int other = scheme.min_code(); other <= scheme.max_code(); ++other)
        ASSERT_LE(std::abs(w - code_value(scheme, grid, code)),
                  std::abs(w - code_value(scheme, grid, other)) + 1e-6f)
            << text;
    }
  }
}

TEST(Grid, ScalesAndOffsetsAreExactInTheirStore) {
  for (const char* text : {"int4-g32-sym", "int3-g32-asym", "int4-g32-offset", "int8-g32-sym", "iq4_nl"}) {
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
      EXPECT_EQ(code_value(scheme, grid, round_to_code(scheme, grid, 0.0f)), 0.0f) << text;
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
        EXPECT_NEAR(code_value(scheme, grid, round_to_code(scheme, grid, constant)), constant, 0.37 * 0x1p-11)
            << text;
      }
    }
  }
}

// A group of one sign wants its zero point at an end of the codes, and one of zeros has no scale.
TEST(Grid, ZeroPointsStayAboveTheLeastThatIsAllowed) {
  for (const char* text : {"int2-g32-asym", "int3-g32-asym", "int4-g32-asym", "int8-g32-asym"}) {
    const QuantScheme scheme = parse_scheme(text);
    for (GridSearch search : {GridSearch::none, GridSearch::mse})
      for (int shape = 0; shape < 3; ++shape) {
        std::vector<float> values = random_group(32, 17);
        for (float& v : values) v = shape == 0 ? std::abs(v) : shape == 1 ? -std::abs(v) : 0.0f;
        const GroupGrid any = choose_grid(scheme, values, {}, search);
        const GroupGrid above = choose_grid(scheme, values, {}, search, {}, 1);
        if (shape != 1) {
          EXPECT_EQ(any.zero, 0) << text;
        }
        EXPECT_GE(above.zero, 1) << text;
        EXPECT_LE(above.zero, scheme.max_code()) << text;
        // One code fewer for the same range: half a step of it everywhere, and the store's rounding.
        const float high = *std::ranges::max_element(values), steps = float(scheme.max_code() - 1);
        if (shape == 0 && search == GridSearch::none) {
          for (const float v : values)
            EXPECT_NEAR(code_value(scheme, above, round_to_code(scheme, above, v)), v,
                        high / steps * (0.5f + steps * 0x1p-11f))
                << text;
        }
        if (shape == 2) {
          for (const float v : values)
            EXPECT_EQ(code_value(scheme, above, round_to_code(scheme, above, v)), 0.0f) << text;
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
    EXPECT_NEAR(code_value(scheme, grid, round_to_code(scheme, grid, values[3])), values[3], 0x1p-25);
    EXPECT_EQ(code_value(scheme, grid, round_to_code(scheme, grid, values[4])), 0.0f);
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
  const double reach = scheme.levels == Levels::uniform ? scheme.mid_code() : 127;
  const double top = double(*std::max_element(values.begin(), values.end(),
                                              [](float a, float b) { return std::abs(a) < std::abs(b); }));
  for (int step = 1; step <= 3000; ++step) {
    for (double sign : {-1.0, 1.0}) {
      const float scale =
          round_to_store(float(sign * std::abs(top) * 2.0 * step / 3000 / reach), scheme.store);
      if (scale == 0) continue;
      least = std::min(least,
                       grid_error(scheme, {.scale = scale, .zero = scheme.mid_code()}, values, importance));
    }
  }
  return least;
}

TEST(Grid, TheSearchComesCloseToAFineScanOfAllScales) {
  constexpr double kSearchOverScan = 1.01;  // measured over 300 groups: 1.0001 to 1.0042
  for (const char* text : {"int2-g32-sym", "int3-g32-sym", "int4-g32-sym", "iq4_nl"}) {
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

// A row of a scheme: grids of its groups under their outer scales, and the error of all of them.
struct RowGrids {
  std::vector<OuterGrid> outers;
  std::vector<GroupGrid> grids;
  double error = 0;
};

RowGrids choose_row(const QuantScheme& scheme, std::span<const float> row, std::span<const float> importance,
                    GridSearch search, float head_room = 1) {
  const auto cols = int64_t(row.size());
  const auto group = size_t(scheme.group_size(cols)), under = size_t(scheme.outer_size(cols));
  RowGrids out;
  for (size_t first = 0; first < row.size(); first += group) {
    OuterGrid outer;
    if (scheme.two_level())
      outer = first % under != 0 ? out.outers.back()
                                 : choose_outer(scheme, int64_t(group), row.subspan(first, under),
                                                importance.subspan(first, under), search, head_room);
    const auto values = row.subspan(first, group), h = importance.subspan(first, group);
    out.outers.push_back(outer);
    out.grids.push_back(choose_grid(scheme, values, h, search, outer));
    out.error += grid_error(scheme, out.grids.back(), values, h);
  }
  return out;
}

const std::vector<const char*> kTwoLevel = {"int4-g32-s8", "iq4nl-g32-s8", "int3-g64-s8", "int2-g32-asym-s8",
                                            "q4_k",        "q5_k",         "q6_k"};

TEST(Grid, ScalesUnderAnOuterScaleAreWholeMultiplesOfIt) {
  const auto row = random_group(512, 21, 0.3), ones = std::vector<float>(512, 1.0f);
  for (const char* text : kTwoLevel) {
    const QuantScheme scheme = parse_scheme(text);
    for (const GridSearch search : {GridSearch::none, GridSearch::mse}) {
      const RowGrids chosen = choose_row(scheme, row, ones, search);
      for (size_t g = 0; g < chosen.grids.size(); ++g) {
        const GroupGrid& grid = chosen.grids[g];
        const OuterGrid& outer = chosen.outers[g];
        EXPECT_EQ(outer.scale, round_to_store(outer.scale, scheme.store)) << text;
        EXPECT_EQ(grid.scale, outer.scale * float(grid.scale_code)) << text;
        EXPECT_EQ(grid.offset, -(outer.offset * float(grid.offset_code))) << text;
        EXPECT_NE(grid.scale_code, 0) << text;
        EXPECT_LE(std::abs(int(grid.scale_code)), scheme.store == ScaleStore::u6_super ? 63 : 127) << text;
        EXPECT_GE(grid.scale_code, scheme.store == ScaleStore::u6_super ? 0 : -127) << text;
        EXPECT_TRUE(grid.offset_code >= 0 && grid.offset_code <= 63) << text;
      }
    }
  }
}

TEST(Grid, UnderAnOuterScaleTheSearchIsBetterThanTheExtremesAsWell) {
  for (const char* text : kTwoLevel) {
    const QuantScheme scheme = parse_scheme(text);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const auto row = random_group(512, seed + 40);
      auto importance = random_group(512, seed + 80);
      for (float& h : importance) h = std::exp(h);
      const double searched = choose_row(scheme, row, importance, GridSearch::mse).error;
      EXPECT_LT(searched, choose_row(scheme, row, importance, GridSearch::none).error) << text;
    }
  }
}

TEST(Grid, OuterScalesOfZerosAndOfExtremeRowsStayFinite) {
  const std::vector<float> ones(512, 1.0f);
  for (const char* text : kTwoLevel) {
    const QuantScheme scheme = parse_scheme(text);
    for (const double magnitude : {0.0, 1e-45, 1e-38, 1e-8, 1e6, 3e38}) {
      auto row = random_group(512, 3);
      for (float& w : row) w = float(std::clamp(double(w) / 3, -1.0, 1.0) * magnitude);
      const RowGrids chosen = choose_row(scheme, row, ones, GridSearch::mse);
      for (size_t g = 0; g < chosen.grids.size(); ++g) {
        ASSERT_TRUE(std::isfinite(chosen.outers[g].scale) && std::isfinite(chosen.grids[g].scale)) << text;
        ASSERT_TRUE(std::isfinite(chosen.outers[g].offset) && std::isfinite(chosen.grids[g].offset)) << text;
      }
      if (magnitude == 0) {
        EXPECT_EQ(chosen.error, 0) << text;
      }
    }
  }
}

TEST(Grid, TheTableBeatsEvenCodesOnBellShapedWeightsAtEqualBytes) {
  const std::vector<float> ones(512, 1.0f);
  for (const auto& [table, even] : {std::pair{"iq4_nl", "q4_0"}, {"iq4nl-g32-s8", "int4-g32-s8"}}) {
    double of_table = 0, of_even = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const auto row = random_group(512, seed);
      of_table += choose_row(parse_scheme(table), row, ones, GridSearch::mse).error;
      of_even += choose_row(parse_scheme(even), row, ones, GridSearch::mse).error;
    }
    EXPECT_LT(of_table, 0.9 * of_even) << table;
  }
}

TEST(Grid, ScaleCodesOfARowCostLessThanAPercent) {
  const std::vector<float> ones(576, 1.0f);
  double coded = 0, plain = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto row = random_group(576, seed);
    coded += choose_row(parse_scheme("iq4nl-g32-s8"), row, ones, GridSearch::mse, 1.1f).error;
    plain += choose_row(parse_scheme("iq4nl-g32-f32"), row, ones, GridSearch::mse).error;
  }
  EXPECT_LT(coded, 1.01 * plain);
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
