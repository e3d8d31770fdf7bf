// SPDX-License-Identifier: Apache-2.0
// Keys and values as they come back from a page.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/half.h"
#include "core/random.h"
#include "runtime/kv_cache.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

constexpr int64_t kPage = KvCache::kPage;
using Matrix = std::vector<std::vector<float>>;  // [position][dimension]

// Positions of `head_dim` dimensions; some channels are outliers, as keys have them.
Matrix positions_of(int64_t head_dim, uint64_t seed = 1) {
  Random random(seed);
  std::vector<float> center, reach;
  for (int64_t d = 0; d < head_dim; ++d) {
    center.push_back(float((d % 7 == 3 ? 40 : 1) * random.normal()));
    reach.push_back(float(std::exp(random.normal())));
  }
  Matrix matrix;
  for (int64_t p = 0; p < kPage; ++p) {
    matrix.emplace_back();
    for (int64_t d = 0; d < head_dim; ++d)
      matrix.back().push_back(center[size_t(d)] + reach[size_t(d)] * float(random.normal()));
  }
  return matrix;
}

// A page of one layer and head, written and encoded, and seen from a later one.
class OnePage {
 public:
  OnePage(const KvScheme& scheme, const Matrix& keys, const Matrix& values)
      : head_dim_(std::ssize(keys[0])), cache_(KvLayout(config_of(head_dim_), scheme), 2 * kPage) {
    cache_.extend(0, kPage);
    for (int64_t p = 0; p < kPage; ++p)
      cache_.write(0, 0, p, keys[size_t(p)].data(), values[size_t(p)].data());
    cache_.encode({});
  }

  Matrix keys(KvCache::Page seen) const {
    return read(
        [&](float* scratch) {
          return cache_.keys(*runnable_kernels().front(), {}, seen, {0, kPage / 16}, scratch);
        },
        [](int64_t p, int64_t d) { return std::pair(p, d); });
  }
  Matrix values(KvCache::Page seen) const {
    return read(
        [&](float* scratch) {
          return cache_.values(*runnable_kernels().front(), {}, seen, {0, (head_dim_ + 15) / 16}, scratch);
        },
        [](int64_t p, int64_t d) { return std::pair(d, p); });
  }

 private:
  static ModelConfig config_of(int64_t head_dim) {
    ModelConfig config;
    config.layers.assign(1, {.heads = 1, .kv_heads = 1, .head_dim = head_dim, .ffn = 1, .window = 0});
    return config;
  }
  template <class View, class RowAndColumn>
  Matrix read(const View& view, const RowAndColumn& place) const {
    std::vector<float> scratch(size_t(kPage * (head_dim_ + 15)));
    const KernelFloatWeight panels = view(scratch.data());
    Matrix matrix{size_t(kPage), std::vector<float>(size_t(head_dim_), 0.0f)};
    for (int64_t p = 0; p < kPage; ++p)
      for (int64_t d = 0; d < head_dim_; ++d) {
        const auto [row, col] = place(p, d);
        const unsigned char* panel = panels.panels + row / 16 * panels.panel_bytes;
        float& value = matrix[size_t(p)][size_t(d)];
        if (panels.element == 0) {
          __builtin_memcpy(&value, panel + (col * 16 + row % 16) * 4, 4);
        } else {
          uint16_t half;
          __builtin_memcpy(&half, panel + (col * 16 + row % 16) * 2, 2);
          value = f16_to_f32(half);
        }
      }
    return matrix;
  }

  int64_t head_dim_;
  KvCache cache_;
};

struct Range {
  float low = std::numeric_limits<float>::infinity(), high = -low;
  void add(float value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

// Half a step: (max - offset) / levels / 2, where the offset lies below the minimum by at most 2^-10 of it.
// The scale's rounding to f16, 2^-11 of it, can leave the top code short by 2^-11 of the span; floats round
// on top.
double bound(const Range& range, int bits) {
  const double span = double(range.high) - range.low + std::abs(double(range.low)) * 0x1p-10;
  return span * (0.5 / ((1 << bits) - 1) * (1 + 0x1p-10) + 0x1p-11) + 1e-6 * std::abs(double(range.low));
}

// The largest error over its bound. group_of: which values share a scale.
template <class GroupOf>
double error_over_bound(const Matrix& exact, const Matrix& found, int bits, const GroupOf& group_of) {
  std::vector<Range> ranges(size_t(kPage * 1000));
  for (int64_t p = 0; p < kPage; ++p)
    for (int64_t d = 0; d < std::ssize(exact[0]); ++d)
      ranges[group_of(p, d)].add(exact[size_t(p)][size_t(d)]);
  double worst = 0;
  for (int64_t p = 0; p < kPage; ++p)
    for (int64_t d = 0; d < std::ssize(exact[0]); ++d)
      worst = std::max(worst, std::abs(double(found[size_t(p)][size_t(d)]) - exact[size_t(p)][size_t(d)]) /
                                  bound(ranges[group_of(p, d)], bits));
  return worst;
}

size_t key_group(int64_t position, int64_t dim) {
  return size_t(position / KvPanels::kKeyGroup * 1000 + dim);
}
size_t value_group(int64_t position, int64_t dim) {
  return size_t(position * 10 + dim / KvPanels::kValueGroup);
}

const KvScheme kInt8{KvType::int8, KvType::int8}, kInt4{KvType::int4, KvType::int4};

// 20, 80 and 96 are not multiples of the group, 12 and 20 not of a panel.
constexpr int64_t kHeadDims[] = {12, 16, 20, 64, 80, 96, 128, 256};

TEST(KvPanels, CodesStayWithinHalfAStepOfTheirGroup) {
  for (const int64_t head_dim : kHeadDims)
    for (const KvScheme& scheme : {kInt8, kInt4}) {
      const Matrix keys = positions_of(head_dim), values = positions_of(head_dim, 2);
      const OnePage page(scheme, keys, values);
      const int bits = kv_bits(scheme.keys);
      EXPECT_LE(error_over_bound(keys, page.keys(KvCache::Page::earlier), bits, key_group), 1) << head_dim;
      EXPECT_LE(error_over_bound(values, page.values(KvCache::Page::earlier), bits, value_group), 1)
          << head_dim;
    }
}

// Negative control: the bound of a narrower group does not hold, nor that of one bit more.
TEST(KvPanels, TheBoundSeesAWrongStep) {
  const Matrix keys = positions_of(64);
  const OnePage page(kInt4, keys, keys);
  EXPECT_GT(error_over_bound(keys, page.keys(KvCache::Page::earlier), 5, key_group), 1);
  EXPECT_GT(error_over_bound(keys, page.values(KvCache::Page::earlier), 4, key_group), 1);
}

TEST(KvPanels, ATokensOwnPageIsExact) {
  const Matrix keys = positions_of(20), values = positions_of(20, 2);
  for (const KvScheme& scheme : {KvScheme{}, kInt8, kInt4}) {
    const OnePage page(scheme, keys, values);
    EXPECT_EQ(page.keys(KvCache::Page::own), keys);
    EXPECT_EQ(page.values(KvCache::Page::own), values);
  }
}

TEST(KvPanels, F16IsRoundedOnceForEveryPage) {
  const Matrix keys = positions_of(20);
  Matrix rounded = keys;
  for (auto& row : rounded)
    for (float& value : row) value = round_to_f16(value);
  const OnePage page({KvType::f16, KvType::f16}, keys, keys);
  for (const auto seen : {KvCache::Page::own, KvCache::Page::earlier}) {
    EXPECT_EQ(page.keys(seen), rounded);
    EXPECT_EQ(page.values(seen), rounded);
  }
}

TEST(KvPanels, AConstantGroupComesBackAsItsF16) {
  for (const float value : {0.0f, 3.0f, -3.0f, 0x1p-14f, 65504.0f, -65504.0f}) {
    const Matrix matrix(size_t(kPage), std::vector<float>(20, value));
    const OnePage page(kInt4, matrix, matrix);
    EXPECT_EQ(page.keys(KvCache::Page::earlier), matrix) << value;
    EXPECT_EQ(page.values(KvCache::Page::earlier), matrix) << value;
  }
}

TEST(KvPanels, WhatF16CannotHoldShowsInItsGroupAndNowhereElse) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), 65536.0f, -1e30f}) {
    Matrix keys = positions_of(20);
    keys[5][7] = bad;
    const OnePage page(kInt8, keys, keys);
    const Matrix found_keys = page.keys(KvCache::Page::earlier),
                 found_values = page.values(KvCache::Page::earlier);
    for (int64_t p = 0; p < kPage; ++p)
      for (int64_t d = 0; d < 20; ++d) {
        EXPECT_EQ(std::isnan(found_keys[size_t(p)][size_t(d)]), key_group(p, d) == key_group(5, 7)) << bad;
        EXPECT_EQ(std::isnan(found_values[size_t(p)][size_t(d)]), p == 5) << bad;
      }
  }
}

TEST(KvScheme, TextAndMeaningAgree) {
  EXPECT_EQ(parse_kv_scheme("f32"), KvScheme{});
  EXPECT_EQ(parse_kv_scheme("f16"), (KvScheme{KvType::f16, KvType::f16}));
  EXPECT_EQ(parse_kv_scheme("k8v4"), (KvScheme{KvType::int8, KvType::int4}));
  EXPECT_EQ(parse_kv_scheme("k16v8"), (KvScheme{KvType::f16, KvType::int8}));
  EXPECT_EQ(kv_scheme_text(parse_kv_scheme("k4v32")), "k4v32");
  for (const char* bad : {"", "k8", "q8_0", "k8v3", "K8V8", "k32v32", "f8", "k8v4 ", "k-8v4"})
    EXPECT_EQ(
        error_of([&] { parse_kv_scheme(bad); }),
        "KV cache \"" + std::string(bad) +
            "\"; expected f32, f16, or bits of keys and values as in k8v8, k8v4, k4v4 (each 32, 16, 8 or 4)");
}

TEST(KvCache, CountsTheBytesOfAToken) {
  ModelConfig config;
  config.layers.assign(3, {.heads = 8, .kv_heads = 2, .head_dim = 64, .ffn = 1, .window = 0});
  const auto bytes = [&](const char* kv) { return KvLayout(config, parse_kv_scheme(kv)).bytes_per_token(); };
  const int64_t values = 3 * 2 * 2 * 64;
  EXPECT_EQ(bytes("f32"), values * 4);
  EXPECT_EQ(bytes("f16"), values * 2);
  // Codes, and per group 4 bytes of scale and offset.
  const int64_t key_scales = 3 * 2 * 64 * 4 / KvPanels::kKeyGroup;
  const int64_t value_scales = 3 * 2 * 64 * 4 / KvPanels::kValueGroup;
  EXPECT_EQ(bytes("k8v8"), values + key_scales + value_scales);
  EXPECT_EQ(bytes("k8v4"), values * 3 / 4 + key_scales + value_scales);
  EXPECT_EQ(bytes("k4v4"), values / 2 + key_scales + value_scales);
}

}  // namespace
}  // namespace edgeq
