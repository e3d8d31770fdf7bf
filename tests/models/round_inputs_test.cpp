// SPDX-License-Identifier: Apache-2.0
#include "models/round_inputs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/random.h"
#include "runtime/activation.h"
#include "runtime/kernels/kernel_table.h"

namespace edgeq {
namespace {

std::vector<float> rounded(std::vector<float> row, Activations inputs) {
  round_inputs({row.data(), 1, int64_t(row.size())}, inputs);
  return row;
}

TEST(RoundInputs, EveryGroupHasItsLargestValueAsCode127) {
  std::vector<float> row(64, 0.0f);
  row[0] = -12.7f;
  row[1] = 0.249f;
  row[32] = 1.27f;
  row[33] = 0.249f;
  const std::vector<float> block = rounded(row, Activations::int8_block);
  EXPECT_FLOAT_EQ(block[0], -12.7f);
  EXPECT_FLOAT_EQ(block[1], 0.2f);
  EXPECT_FLOAT_EQ(block[32], 1.27f);
  EXPECT_FLOAT_EQ(block[33], 0.25f);
  const std::vector<float> token = rounded(row, Activations::int8_token);
  EXPECT_FLOAT_EQ(token[32], 1.3f);
  EXPECT_FLOAT_EQ(token[33], 0.2f);
  EXPECT_EQ(rounded(row, Activations::f32), row);
}

TEST(RoundInputs, IsWithinHalfAStepAndTheSameTwice) {
  Random random(3);
  std::vector<float> row(75);  // the last block is short
  for (float& x : row) x = float(random.normal());
  for (const Activations mode : {Activations::int8_block, Activations::int8_token}) {
    const std::vector<float> once = rounded(row, mode);
    float largest = 0;
    for (const float x : row) largest = std::max(largest, std::abs(x));
    for (size_t i = 0; i < row.size(); ++i) EXPECT_LE(std::abs(once[i] - row[i]), 0.5001f * largest / 127);
    EXPECT_NE(once, row);
    EXPECT_EQ(rounded(once, mode), once);
  }
}

TEST(RoundInputs, TinyValuesBecomeZeroAndNonFiniteOnesStay) {
  EXPECT_EQ(rounded({1e-35f, -1e-38f}, Activations::int8_token), (std::vector<float>{0, 0}));
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(rounded({infinity, 0.3f}, Activations::int8_token), (std::vector<float>{infinity, 0.3f}));
  EXPECT_TRUE(std::isnan(rounded({NAN, 0.3f}, Activations::int8_block)[0]));
}

TEST(RoundInputs, GivesTheBitsThatTheKernelsMultiply) {
  constexpr size_t kColumns = 96;
  Random random(5);
  std::vector<float> row(kColumns);
  for (float& x : row) x = float(random.normal() * std::exp(3 * random.normal()));
  for (const KernelTable* table : runnable_kernels())
    for (const Activations mode : {Activations::int8_block, Activations::int8_token}) {
      std::vector<int8_t> codes(kColumns);
      std::vector<float> scales(kColumns / 32), expected(kColumns);
      std::vector<int32_t> sums(kColumns / 32);
      table->quantize_row(row.data(), int64_t(kColumns),
                          mode == Activations::int8_token ? int64_t(kColumns) : 32, codes.data(),
                          scales.data(), sums.data());
      for (size_t i = 0; i < kColumns; ++i) expected[i] = scales[i / 32] * float(codes[i]);
      EXPECT_EQ(rounded(row, mode), expected) << table->isa;
    }
}

TEST(RoundInputs, OnAGivenScaleGivesTheBitsThatTheRuntimeMultiplies) {
  constexpr int64_t kColumns = 75;
  constexpr float kScale = 0.021f;
  Random random(5);
  std::vector<float> row(kColumns);
  for (float& x : row) x = float(3 * random.normal());  // some beyond 127 steps
  std::vector<float> expected = row;
  round_inputs({expected.data(), 1, kColumns}, kScale);
  ActivationBuffer buffer(1, kColumns);
  std::copy(row.begin(), row.end(), buffer.row(0));
  const KernelTable& kernels = *runnable_kernels().front();
  buffer.quantize(kernels, Activations::int8_static, kScale, 0, kColumns);
  const KernelInput codes = buffer.view(1, kColumns, true).codes;
  int clipped = 0;
  for (int64_t i = 0; i < kColumns; ++i) {
    EXPECT_EQ(codes.scales[i / 32] * float(codes.codes[i]), expected[size_t(i)]) << i;
    clipped += std::abs(codes.codes[i]) == 127;
  }
  EXPECT_GT(clipped, 5);
  for (int64_t b = 0; b < 3; ++b) {
    int32_t sum = 0;
    for (int64_t i = 0; i < 32; ++i) sum += codes.codes[b * 32 + i];
    EXPECT_EQ(codes.sums[b], sum);
  }
  buffer.row(0)[40] = std::numeric_limits<float>::infinity();
  buffer.quantize(kernels, Activations::int8_static, kScale, 0, kColumns);
  EXPECT_FALSE(std::isnan(codes.scales[0]));
  EXPECT_TRUE(std::isnan(codes.scales[1])) << "an infinity shows in every output";
}

}  // namespace
}  // namespace edgeq
