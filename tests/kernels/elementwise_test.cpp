// SPDX-License-Identifier: Apache-2.0
// Quantizing activations, norms, gates, softmax and rotation: scalar against double arithmetic with derived
// bounds, every other instruction set against scalar bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/random.h"
#include "runtime/kernels/kernel_table.h"
#include "tests/kernels/matrices.h"
#include "tests/kernels/same_bits.h"

namespace edgeq {
namespace {

constexpr double kUnit = 0x1p-24;  // half a unit in the last place, relative
constexpr int64_t kLengths[] = {1, 7, 15, 16, 17, 32, 100, 576};

// ---- quantize_row ----

struct QuantizedRow {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;
};

QuantizedRow quantize(const KernelTable& table, const std::vector<float>& x, int64_t group) {
  QuantizedRow row{std::vector<int8_t>(x.size()), std::vector<float>(x.size() / 32),
                   std::vector<int32_t>(x.size() / 32)};
  table.quantize_row(x.data(), int64_t(x.size()), group, row.codes.data(), row.scales.data(),
                     row.sums.data());
  return row;
}

TEST(QuantizeRow, CodesAreWithinHalfAStepAndSumsAreTheirs) {
  Random random(1);
  const auto x = random_floats(96, random);
  const QuantizedRow row = quantize(choose_kernels("scalar"), x, 32);
  for (size_t b = 0; b < 3; ++b) {
    float max = 0;
    int32_t sum = 0;
    for (size_t i = b * 32; i < b * 32 + 32; ++i) max = std::max(max, std::abs(x[i])), sum += row.codes[i];
    EXPECT_EQ(row.scales[b], max / 127.0f);
    EXPECT_EQ(row.sums[b], sum);
    // Half a step, and three roundings of a quotient of at most 127.
    for (size_t i = b * 32; i < b * 32 + 32; ++i)
      EXPECT_LE(std::abs(double(x[i]) / double(row.scales[b]) - row.codes[i]), 0.5 + 127 * 3 * kUnit);
  }
}

TEST(QuantizeRow, TiesGoToEven) {
  std::vector<float> x(32, 0.0f);
  x[0] = 127.0f, x[1] = 0.5f, x[2] = 1.5f, x[3] = -2.5f, x[4] = -0.5f;
  for (const KernelTable* table : runnable_kernels()) {
    const QuantizedRow row = quantize(*table, x, 32);
    EXPECT_EQ((std::vector<int8_t>{row.codes.begin(), row.codes.begin() + 5}),
              (std::vector<int8_t>{127, 0, 2, -2, 0}))
        << table->isa;
  }
}

TEST(QuantizeRow, EveryIsaGivesTheSameCodesScalesAndSums) {
  Random random(2);
  for (const int64_t n : {32, 64, 96, 576})
    for (const int64_t group : {int64_t(32), n}) {
      auto x = random_floats(n, random);
      for (size_t i = 0; i < 32; ++i) x[i] *= 0x1p-110f;  // too small to have a scale of its own
      const QuantizedRow expected = quantize(choose_kernels("scalar"), x, group);
      for (const KernelTable* table : runnable_kernels()) {
        const QuantizedRow row = quantize(*table, x, group);
        EXPECT_EQ(row.codes, expected.codes) << table->isa;
        EXPECT_EQ(row.sums, expected.sums) << table->isa;
        expect_same_bits(row.scales, expected.scales, table->isa);
      }
    }
}

TEST(QuantizeRow, ZerosGiveZerosAndNonFiniteValuesShowAsNan) {
  for (const KernelTable* table : runnable_kernels()) {
    const QuantizedRow zero = quantize(*table, std::vector<float>(64, 0.0f), 32);
    EXPECT_EQ(zero.codes, std::vector<int8_t>(64, 0));
    EXPECT_EQ(zero.scales, std::vector<float>(2, 0.0f));
    for (const float bad :
         {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
          std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> x(64, 1.0f);
      x[40] = bad;
      const QuantizedRow row = quantize(*table, x, 32);
      EXPECT_EQ(row.scales[0], 1.0f / 127.0f) << table->isa;
      EXPECT_TRUE(std::isnan(row.scales[1])) << table->isa;
      EXPECT_EQ(row.sums[1], 0) << table->isa;
    }
  }
}

// ---- element-wise operations ----

TEST(RmsNorm, IsWithinItsRoundingBoundAndEqualOnEveryIsa) {
  Random random(3);
  for (const int64_t n : kLengths) {
    const auto x = random_floats(n, random), gain = random_floats(n, random);
    std::vector<float> expected(x.size());
    choose_kernels("scalar").rms_norm(x.data(), gain.data(), n, 1e-5f, expected.data());
    double sum = 0;
    for (const float value : x) sum += double(value) * double(value);
    const double r = 1 / std::sqrt(sum / double(n) + double(1e-5f));
    // Squares are positive, so the sum's relative error is at most (n / 16 + 5) units, halved by the root;
    // then quotient, epsilon, root, reciprocal and two products.
    const double bound = kUnit * (double(n) / 32 + 10);
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = double(x[i]) * r * double(gain[i]);
      EXPECT_LE(std::abs(double(expected[i]) - exact), bound * std::abs(exact));
      EXPECT_GT(std::abs(double(expected[i]) - 1.05 * exact), bound * std::abs(1.05 * exact));
    }
    for (const KernelTable* table : runnable_kernels()) {
      auto in_place = x;
      table->rms_norm(in_place.data(), gain.data(), n, 1e-5f, in_place.data());
      expect_same_bits(in_place, expected, table->isa);
    }
  }
}

TEST(Softmax, ExponentialIsWithinTwoUnitsInTheLastPlace) {
  double worst = 0;
  for (double t = 0; t < 86.9; t += 0.0037) {
    float x[2] = {0.0f, float(-t)};
    choose_kernels("scalar").softmax(x, 2, 1.0f);
    // x[1] / x[0] = exp(-t) but for the rounding of two products.
    const double exact = std::exp(double(float(-t)));
    worst = std::max(worst, std::abs(double(x[1]) / double(x[0]) - exact) / exact);
  }
  EXPECT_LE(worst, (2 * 2 + 2) * kUnit);
  EXPECT_GT(worst, 0) << "the error was not measured";
}

TEST(Softmax, SumsToOneAndIsEqualOnEveryIsa) {
  Random random(4);
  for (const int64_t n : kLengths) {
    auto x = random_floats(n, random);
    for (auto& value : x) value *= 10;
    auto expected = x;
    choose_kernels("scalar").softmax(expected.data(), n, 0.125f);
    double sum = 0;
    for (const float p : expected) sum += double(p);
    EXPECT_NEAR(sum, 1, kUnit * (double(n) / 16 + 8));
    for (const KernelTable* table : runnable_kernels()) {
      auto y = x;
      table->softmax(y.data(), n, 0.125f);
      expect_same_bits(y, expected, table->isa);
    }
  }
}

TEST(SiluMul, IsWithinItsRoundingBoundAndEqualOnEveryIsa) {
  Random random(5);
  for (const int64_t n : kLengths) {
    auto gate = random_floats(n, random);
    for (auto& value : gate) value *= 20;
    gate[0] = n % 2 != 0 ? 200.0f : -200.0f;
    const auto up = random_floats(n, random);
    std::vector<float> expected(gate.size());
    choose_kernels("scalar").silu_mul(gate.data(), up.data(), n, expected.data());
    for (size_t i = 0; i < gate.size(); ++i) {
      const double exact = double(gate[i]) / (1 + std::exp(-double(gate[i]))) * double(up[i]);
      // The exponential's 4 units, sum, quotient and product. The absolute term: below -87 the true value
      // is smaller than |gate| exp(-87).
      const double bound = 7 * kUnit * std::abs(exact) + 0x1p-110;
      EXPECT_LE(std::abs(double(expected[i]) - exact), bound) << gate[i];
    }
    for (const KernelTable* table : runnable_kernels()) {
      auto in_place = gate;
      table->silu_mul(in_place.data(), up.data(), n, in_place.data());
      expect_same_bits(in_place, expected, table->isa);
    }
  }
}

TEST(LayerNorm, IsWithinItsRoundingBoundAndEqualOnEveryIsa) {
  Random random(7);
  for (const int64_t n : kLengths) {
    auto x = random_floats(n, random);
    for (float& value : x) value += 3;
    const auto gain = random_floats(n, random), bias = random_floats(n, random);
    std::vector<float> expected(x.size());
    choose_kernels("scalar").layer_norm(x.data(), gain.data(), bias.data(), n, 1e-5f, expected.data());
    double mean = 0, squares = 0, largest = 0;
    for (const float value : x)
      mean += double(value) / double(n), largest = std::max(largest, std::abs(double(value)));
    for (const float value : x) squares += (double(value) - mean) * (double(value) - mean);
    const double r = 1 / std::sqrt(squares / double(n) + double(1e-5f));
    // The mean is off by at most (n / 16 + 5) units of the largest value, which is then off in every
    // difference; the rest is as in RmsNorm, and one more rounding for the bias.
    const double mean_error = kUnit * (double(n) / 16 + 6) * largest;
    for (size_t i = 0; i < x.size(); ++i) {
      const double d = double(x[i]) - mean, exact = d * r * double(gain[i]) + double(bias[i]);
      const double bound =
          (2 * mean_error * r + kUnit * (double(n) / 32 + 12) * std::abs(d) * r) * std::abs(double(gain[i])) +
          2 * kUnit * std::abs(double(bias[i]));
      // A norm of one value divides by the root of epsilon: r is then large, and so is the bound.
      EXPECT_LE(std::abs(double(expected[i]) - exact), bound * (1 + 2 * mean_error * r));
    }
    for (const KernelTable* table : runnable_kernels()) {
      auto in_place = x;
      table->layer_norm(in_place.data(), gain.data(), bias.data(), n, 1e-5f, in_place.data());
      expect_same_bits(in_place, expected, table->isa);
    }
  }
}

// Values over the whole range, and those where the kernels branch or saturate.
std::vector<float> wide_values(int64_t n, Random& random) {
  auto x = random_floats(n, random);
  for (float& value : x) value *= 4;
  const float special[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 0.625f, -0.625f, 60.0f, -60.0f, 1e20f, -1e20f};
  for (size_t i = 0; i < std::size(special) && i < x.size(); ++i) x[x.size() - 1 - i] = special[i];
  return x;
}

TEST(Gelu, IsWithinItsRoundingBoundAndEqualOnEveryIsa) {
  Random random(8);
  for (const int64_t n : kLengths) {
    const auto x = wide_values(n, random);
    auto by_tanh = x, by_erf = x;
    choose_kernels("scalar").gelu_tanh(by_tanh.data(), n);
    choose_kernels("scalar").gelu_erf(by_erf.data(), n);
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = x[i], u = std::sqrt(2 / 3.14159265358979324) * (v + 0.044715 * v * v * v);
      // Of x: the exponent 2u, at most 87 where it matters, has four roundings that the exponential makes
      // relative ones; its 4 units, sum and quotient.
      EXPECT_LE(std::abs(double(by_tanh[i]) - 0.5 * v * (1 + std::tanh(u))),
                kUnit * std::abs(v) * (4 * std::min(std::abs(2 * u), 2.0) + 8) + 0x1p-110)
          << v;
      // 7.1.26's own 1.5e-7 of erf, which is halved, and as many roundings.
      EXPECT_LE(std::abs(double(by_erf[i]) - v * 0.5 * std::erfc(-v * std::sqrt(0.5))),
                std::abs(v) * (0.75e-7 + 8 * kUnit) + 0x1p-110)
          << v;
    }
    for (const KernelTable* table : runnable_kernels()) {
      auto tanh = x, erf = x;
      table->gelu_tanh(tanh.data(), n);
      table->gelu_erf(erf.data(), n);
      expect_same_bits(tanh, by_tanh, table->isa);
      expect_same_bits(erf, by_erf, table->isa);
    }
  }
  // Control: the two differ by more than either bound where they differ most.
  float a = 2.2f, b = 2.2f;
  choose_kernels("scalar").gelu_tanh(&a, 1);
  choose_kernels("scalar").gelu_erf(&b, 1);
  EXPECT_GT(std::abs(a - b), 1e-4f);
}

TEST(SoftCap, IsWithinItsRoundingBoundAndEqualOnEveryIsa) {
  Random random(9);
  for (const int64_t n : kLengths) {
    const auto x = wide_values(n, random);
    auto expected = x;
    choose_kernels("scalar").soft_cap(expected.data(), n, 0.3f, 5.0f);
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = 5 * std::tanh(double(x[i]) * double(0.3f));
      // The polynomial and its argument: 5 units. Above 0.625 the exponential is below 0.29: 8 units of it,
      // difference, sum, quotient, product.
      EXPECT_LE(std::abs(double(expected[i]) - exact), 10 * kUnit * std::abs(exact)) << x[i];
      EXPECT_EQ(std::signbit(expected[i]), std::signbit(x[i]));
    }
    for (const KernelTable* table : runnable_kernels()) {
      auto y = x;
      table->soft_cap(y.data(), n, 0.3f, 5.0f);
      expect_same_bits(y, expected, table->isa);
    }
  }
}

TEST(Rope, KeepsThePairsLengthAndIsEqualOnEveryIsa) {
  Random random(6);
  for (const int64_t half : kLengths) {
    const auto x = random_floats(2 * half, random);
    std::vector<float> cosine, sine;
    for (int64_t i = 0; i < half; ++i)
      cosine.push_back(std::cos(float(i))), sine.push_back(std::sin(float(i)));
    auto expected = x;
    choose_kernels("scalar").rope(expected.data(), cosine.data(), sine.data(), half);
    for (int64_t i = 0; i < half; ++i) {
      const double a = x[size_t(i)], b = x[size_t(i + half)], c = cosine[size_t(i)], s = sine[size_t(i)];
      const double bound = 2 * kUnit * (std::abs(a) + std::abs(b));
      EXPECT_NEAR(expected[size_t(i)], a * c - b * s, bound);
      EXPECT_NEAR(expected[size_t(i + half)], b * c + a * s, bound);
    }
    for (const KernelTable* table : runnable_kernels()) {
      auto y = x;
      table->rope(y.data(), cosine.data(), sine.data(), half);
      expect_same_bits(y, expected, table->isa);
    }
  }
}

}  // namespace
}  // namespace edgeq
