// SPDX-License-Identifier: Apache-2.0
// The matmul of quantized weights: scalar against the definition of dequantization, every other instruction
// set against scalar bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/quantized_tensor.h"
#include "core/random.h"
#include "runtime/kernels/kernel_table.h"
#include "tests/kernels/matrices.h"
#include "tests/kernels/same_bits.h"

namespace edgeq {
namespace {

std::vector<float> multiply(const KernelTable& table, const PackedQuantized& weight,
                            const KernelInput& input) {
  const int64_t stride = weight.panels() * kPanelRows;
  std::vector<float> y(size_t(input.tokens * stride), -1.0f);
  table.matmul(weight.kernel_weight(), input, y.data(), stride, 0, weight.panels());
  return y;
}

// Largest |y - reference| / bound over all rows and tokens. Reference: dequantized weights times the
// activations' codes in double. Bound: a block adds float(dot) * (x_scale * w_scale) with one rounding of the
// product of scales and one of the sum (float(dot) is exact: |dot - zero * sum| <= 32 * 255 * 127 < 2^24),
// and an offset adds as much again; the dequantized weight itself is rounded at most twice. With B blocks and
// u = 2^-24 the error is at most u * (2 B + 4) * M, M = sum of (|w| + 2 |offset|) |x|.
double error_over_bound(const QuantizedTensor& q, const QuantizedInput& x, const std::vector<float>& y) {
  std::vector<float> weights(size_t(q.rows * q.cols));
  dequantize_into(q, {weights.data(), q.rows, q.cols});
  const int64_t stride = (q.rows + kPanelRows - 1) / kPanelRows * kPanelRows;
  double worst = 0;
  for (int64_t r = 0; r < q.rows; ++r)
    for (int64_t t = 0; t < x.tokens; ++t) {
      double sum = 0, magnitude = 0;
      for (int64_t c = 0; c < q.cols; ++c) {
        const double w = weights[size_t(r * q.cols + c)], value = x.value(t, c);
        sum += w * value;
        magnitude += (std::abs(w) + 2 * std::abs(double(q.offset(r, c / q.scheme.group_size(q.cols))))) *
                     std::abs(value);
      }
      const double bound = 0x1p-24 * double(2 * x.blocks + 4) * magnitude;
      const double error = std::abs(double(y[size_t(t * stride + r)]) - sum);
      worst = std::max(worst, bound > 0 ? error / bound : error > 0 ? INFINITY : 0.0);
    }
  return worst;
}

// Every scheme that kernels run and that fits `cols` columns.
std::vector<QuantScheme> schemes(int64_t cols) {
  std::vector<QuantScheme> all;
  for (const std::string& text : all_scheme_texts()) {
    const QuantScheme scheme = parse_scheme(text);
    const int64_t unit = scheme.super_blocks() ? kSuperBlock : scheme.group_size(cols);
    if (cols % unit == 0 && scheme.group != 16) all.push_back(scheme);
  }
  return all;
}

TEST(Matmul, ScalarIsTheDequantizedMatrixTimesTheActivations) {
  Random random(1);
  for (const int64_t cols : {32, 100, 192, 512})
    for (const QuantScheme& scheme : schemes(cols)) {
      const QuantizedTensor q = random_quantized(scheme, 17, cols, random);
      const KernelTable& scalar = choose_kernels("scalar");
      const QuantizedInput x(scalar, random_floats(3 * cols, random), 3, cols);
      EXPECT_LE(error_over_bound(q, x, multiply(scalar, PackedQuantized(q), x.kernel_input())), 1)
          << scheme_text(scheme) << " cols " << cols;
    }
}

TEST(Matmul, OneScaleOffByFivePercentBreaksTheBound) {
  Random random(2);
  for (const QuantScheme& scheme : schemes(256)) {
    const QuantizedTensor q = random_quantized(scheme, 17, 256, random);
    const KernelTable& scalar = choose_kernels("scalar");
    const QuantizedInput x(scalar, random_floats(3 * 256, random), 3, 256);
    QuantizedTensor wrong = q;
    float& scale = scheme.two_level() ? wrong.outer_scales.back() : wrong.scales.back();
    scale = round_to_store(scale * 1.05f, scheme.store);
    EXPECT_GT(error_over_bound(q, x, multiply(scalar, PackedQuantized(wrong), x.kernel_input())), 1)
        << scheme_text(scheme);
  }
}

TEST(Matmul, EveryIsaGivesTheBitsOfScalar) {
  Random random(3);
  for (const int64_t cols : {32, 64, 96, 100, 576, 768, 832})
    for (const QuantScheme& scheme : schemes(cols)) {
      const int64_t rows = cols == 64 ? 100 : cols == 32 ? 1 : 15 + int64_t(random.below(4));
      const QuantizedTensor q = random_quantized(scheme, rows, cols, random);
      const PackedQuantized packed(q);
      const int64_t tokens = cols > 500 ? 3 : 17;
      const auto x = random_floats(tokens * cols, random);
      const KernelTable& scalar = choose_kernels("scalar");
      const QuantizedInput input(scalar, x, tokens, cols);
      const auto expected = multiply(scalar, packed, input.kernel_input());
      for (const KernelTable* table : runnable_kernels())
        expect_same_bits(
            multiply(*table, packed, input.kernel_input()), expected,
            std::string(table->isa) + " " + scheme_text(scheme) + " cols " + std::to_string(cols));
    }
}

// The largest sums that can occur: every code and activation at its limit.
TEST(Matmul, ExtremeCodesDoNotOverflowAnyIsa) {
  Random random(4);
  for (const QuantScheme& scheme : schemes(256))
    for (const int weight_code : {0, scheme.max_code()}) {
      QuantizedTensor q = random_quantized(scheme, 16, 256, random);
      for (int64_t r = 0; r < 16; ++r) q.set_codes(r, std::vector<uint8_t>(256, uint8_t(weight_code)));
      for (auto& zero : q.zeros) zero = uint8_t(scheme.max_code() - weight_code);
      for (const float sign : {-1.0f, 1.0f}) {
        const KernelTable& scalar = choose_kernels("scalar");
        const QuantizedInput input(scalar, std::vector<float>(5 * 256, 2.5f * sign), 5, 256);
        ASSERT_EQ(input.codes[0], sign < 0 ? -127 : 127);
        const PackedQuantized packed(q);
        const auto expected = multiply(scalar, packed, input.kernel_input());
        EXPECT_LE(error_over_bound(q, input, expected), 1) << scheme_text(scheme);
        for (const KernelTable* table : runnable_kernels()) {
          expect_same_bits(multiply(*table, packed, input.kernel_input()), expected,
                           std::string(table->isa) + " " + scheme_text(scheme));
          expect_same_bits(multiply(*table, packed, input.slice(0, 1)),
                           {expected.begin(), expected.begin() + 16},
                           std::string(table->isa) + " one token " + scheme_text(scheme));
        }
      }
    }
}

TEST(Matmul, ATokensResultDoesNotDependOnHowManyAreComputedTogether) {
  Random random(5);
  const int64_t cols = 768, tokens = 512;
  const auto x = random_floats(tokens * cols, random);
  for (const char* scheme :
       {"int3-g32-sym", "int4-g32-sym", "int4-g32-asym", "int4-g32-offset", "int8-g32-sym", "int8-g32-asym",
        "int3-g32-offset", "iq4_nl", "iq4nl-g64-s8", "int4-g32-asym-s8", "q4_k"}) {
    const PackedQuantized packed(random_quantized(parse_scheme(scheme), 16, cols, random));
    for (const KernelTable* table : runnable_kernels()) {
      if (table->isa == std::string("scalar") && scheme != std::string("iq4_nl"))
        continue;  // its token loop has one form
      const QuantizedInput input(*table, x, tokens, cols);
      const auto all = multiply(*table, packed, input.kernel_input());
      for (const int64_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16}) {
        const int64_t first = int64_t(random.below(uint64_t(tokens - count)));
        const auto some = multiply(*table, packed, input.slice(first, count));
        expect_same_bits(some, {all.begin() + first * 16, all.begin() + (first + count) * 16},
                         std::string(table->isa) + " tokens " + std::to_string(count));
      }
    }
  }
}

TEST(Matmul, AnySplitOfThePanelsGivesTheSameRows) {
  Random random(6);
  const PackedQuantized packed(random_quantized({.bits = 4, .group = 32}, 100, 96, random));
  const int64_t stride = packed.panels() * kPanelRows + 5;
  for (const KernelTable* table : runnable_kernels())
    for (const int64_t tokens : {1, 3, 17}) {
      const QuantizedInput input(*table, random_floats(tokens * 96, random), tokens, 96);
      std::vector<float> whole(size_t(tokens * stride), 7.0f), pieces = whole;
      table->matmul(packed.kernel_weight(), input.kernel_input(), whole.data(), stride, 0, packed.panels());
      for (int64_t begin = 0, end; begin < packed.panels(); begin = end) {
        end = std::min(packed.panels(), begin + 1 + int64_t(random.below(3)));
        table->matmul(packed.kernel_weight(), input.kernel_input(), pieces.data(), stride, begin, end);
      }
      expect_same_bits(pieces, whole, table->isa);  // the 5 columns beyond the rows keep their 7 in both
    }
}

TEST(Matmul, DecodedPanelsAreTheDequantizedWeights) {
  Random random(7);
  for (const int64_t cols : {32, 100, 768, 832})
    for (const QuantScheme& scheme : schemes(cols)) {
      const QuantizedTensor q = random_quantized(scheme, 20, cols, random);
      std::vector<float> expected(size_t(q.rows * q.cols));
      dequantize_into(q, {expected.data(), q.rows, q.cols});
      const PackedQuantized packed(q);
      for (const KernelTable* table : runnable_kernels()) {
        std::vector<float> panel(size_t(cols * kPanelRows)), actual(expected.size());
        for (int64_t p = 0; p < packed.panels(); ++p) {
          table->decode_panel(packed.kernel_weight(), p, panel.data());
          for (int64_t r = p * 16; r < std::min(q.rows, p * 16 + 16); ++r)
            for (int64_t c = 0; c < cols; ++c) actual[size_t(r * cols + c)] = panel[size_t(c * 16 + r % 16)];
        }
        expect_same_bits(actual, expected, std::string(table->isa) + " " + scheme_text(scheme));
      }
    }
}

}  // namespace
}  // namespace edgeq
