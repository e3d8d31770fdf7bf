// SPDX-License-Identifier: Apache-2.0
#include "pruning/mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "core/parallel.h"
#include "quantizers/registry.h"
#include "tests/quantizers/samples.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

constexpr int64_t kRows = 24, kCols = 192;  // a block of SparseGPT's and half of one

int64_t zeros(const float* first, int64_t count) { return std::count(first, first + count, 0.0f); }

struct Sample {
  Tensor weight = random_matrix(kRows, kCols, 1);
  InputStats inputs = stats_of(random_inputs(600, kCols, 0.6, 2));

  Tensor masked(const MaskEntry& method, const Sparsity& sparsity) const {
    Tensor out = weight;
    mask_weight(method, out.matrix(), inputs, sparsity);
    return out;
  }
  // tr(D H D^T)
  double error(const Tensor& to) const {
    double sum = 0;
    const auto w = weight.matrix(), v = to.matrix(), h = inputs.hessian.matrix();
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t i = 0; i < kCols; ++i)
        for (int64_t j = 0; j < kCols; ++j)
          sum += (double(w(r, i)) - double(v(r, i))) * double(h(i, j)) * (double(w(r, j)) - double(v(r, j)));
    return sum;
  }
};

TEST(Mask, EveryMethodLeavesExactlyThePattern) {
  const Sample s;
  for (const MaskEntry& method : mask_methods())
    for (const char* text : {"2:4", "4:8", "1:4", "2:3", "5:6"}) {
      const Sparsity pattern = parse_pattern(text);
      const Tensor masked = s.masked(method, pattern);
      for (int64_t i = 0; i < masked.size(); i += pattern.of)
        ASSERT_EQ(zeros(masked.f32() + i, pattern.of), pattern.of - pattern.kept)
            << method.name << " " << text;
    }
}

TEST(Mask, EveryMethodLeavesExactlyTheShare) {
  const Sample s;
  for (const MaskEntry& method : mask_methods())
    for (const char* share : {"0.25", "0.5", "0.75"})
      EXPECT_EQ(double(zeros(s.masked(method, parse_share(share)).f32(), kRows * kCols)),
                std::stod(share) * double(kRows * kCols))
          << method.name << " " << share;
}

TEST(Mask, WhatKnowsMoreOfTheInputsLosesLess) {
  const Sample s;
  for (const Sparsity& sparsity : {parse_share("0.5"), parse_pattern("2:4")}) {
    const double magnitude = s.error(s.masked(mask_method("magnitude"), sparsity));
    const double wanda = s.error(s.masked(mask_method("wanda"), sparsity));
    const double sparsegpt = s.error(s.masked(mask_method("sparsegpt"), sparsity));
    EXPECT_LT(wanda, 0.95 * magnitude) << sparsity.of;
    EXPECT_LT(sparsegpt, 0.8 * wanda) << sparsity.of;
  }
}

// With independent inputs of one size every method is magnitude, and nothing moves.
TEST(Mask, WithoutCorrelationEveryMethodIsMagnitude) {
  Sample s;
  for (int64_t i = 0; i < kCols; ++i) {
    s.inputs.square_mean.f32()[i] = 1;
    for (int64_t j = 0; j < kCols; ++j) s.inputs.hessian.matrix()(i, j) = i == j ? 1.0f : 0.0f;
  }
  const Tensor expected = s.masked(mask_method("magnitude"), parse_pattern("2:4"));
  for (const MaskEntry& method : mask_methods()) {
    const Tensor masked = s.masked(method, parse_pattern("2:4"));
    EXPECT_TRUE(std::equal(masked.f32(), masked.f32() + masked.size(), expected.f32())) << method.name;
  }
}

// Fewer tokens than columns: the second moment has no inverse but a damped one.
TEST(Mask, ASingularHessianIsDamped) {
  Sample s;
  s.inputs = stats_of(random_inputs(40, kCols, 0.6, 2));
  const Tensor masked = s.masked(mask_method("sparsegpt"), parse_share("0.5"));
  EXPECT_TRUE(
      std::all_of(masked.f32(), masked.f32() + masked.size(), [](float w) { return std::isfinite(w); }));
  EXPECT_LT(s.error(masked), s.error(s.masked(mask_method("wanda"), parse_share("0.5"))));
}

TEST(Mask, DeadColumnsGoFirst) {
  Sample s;
  Tensor inputs = random_inputs(600, kCols, 0.6, 2);
  for (int64_t t = 0; t < inputs.rows(); ++t)
    for (const int64_t c : {5, 150}) inputs.f32()[t * kCols + c] = 0;
  s.inputs = stats_of(inputs);
  for (const char* method : {"wanda", "sparsegpt"})
    for (const Sparsity& sparsity : {parse_share("0.5"), parse_pattern("2:4")}) {
      const Tensor masked = s.masked(mask_method(method), sparsity);
      for (int64_t r = 0; r < kRows; ++r)
        for (const int64_t c : {5, 150}) ASSERT_EQ(masked.matrix()(r, c), 0) << method << " " << sparsity.of;
      EXPECT_EQ(zeros(masked.f32(), masked.size()), kRows * kCols / 2) << method << " " << sparsity.of;
    }
}

TEST(Mask, IsTheSameForOneAndTwoThreads) {
  const Sample s;
  const int before = thread_count();
  for (const Sparsity& sparsity : {parse_share("0.5"), parse_pattern("2:4")}) {
    set_thread_count(1);
    const Tensor one = s.masked(mask_method("sparsegpt"), sparsity);
    set_thread_count(2);
    const Tensor two = s.masked(mask_method("sparsegpt"), sparsity);
    EXPECT_TRUE(std::equal(one.f32(), one.f32() + one.size(), two.f32()));
  }
  set_thread_count(before);
}

// Rounding to nearest keeps the zeros where the grid has one. GPTQ does not: its feedback moves some of them.
TEST(Mask, RoundingToNearestKeepsTheZeros) {
  const Sample s;
  for (const MaskEntry& method : mask_methods())
    for (const char* scheme : {"int4-g64-sym", "int8-channel-sym", "int4-g64-asym", "q4_0"}) {
      const Tensor masked = s.masked(method, parse_pattern("2:4"));
      const Options none(std::map<std::string, std::string>{});
      const auto rounded =
          make_quantizer("rtn", parse_scheme(scheme), none)->quantize(masked.matrix(), s.inputs);
      const Tensor values = dequantized(rounded.weight);
      for (int64_t i = 0; i < masked.size(); ++i)
        ASSERT_TRUE(masked.f32()[i] != 0 || values.f32()[i] == 0) << method.name << " " << scheme;
    }
}

TEST(Mask, WhatIsNoSparsityIsRefused) {
  for (const char* text : {"0", "1", "nan", "", "2", "2:4", "-0.5", "0.5x"})
    EXPECT_THAT(error_of([&] { parse_share(text); }), HasSubstr("expected a share of zeros")) << text;
  for (const char* text : {"0.5", "", ":", "4:4", "0:4", "5:4", "a:b", "2:4:8", "-1:4", "2:"})
    EXPECT_THAT(error_of([&] { parse_pattern(text); }), HasSubstr("expected n:m")) << text;
  EXPECT_THAT(error_of([] { mask_method("wandb"); }),
              HasSubstr("expected one of sparsegpt, wanda, magnitude"));
  Tensor odd(DType::f32, {2, 6});
  EXPECT_THAT(
      error_of([&] { mask_weight(mask_method("magnitude"), odd.matrix(), {}, parse_pattern("2:4")); }),
      HasSubstr("2:4 does not divide 6 columns"));
}

}  // namespace
}  // namespace edgeq
