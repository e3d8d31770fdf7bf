// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "quantizers/output_error.h"
#include "quantizers/registry.h"
#include "tests/quantizers/samples.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using Values = std::map<std::string, std::string>;

QuantizedTensor rtn(const std::string& scheme, const Tensor& weight, const std::string& search = "none",
                    const InputStats& stats = {}) {
  const auto quantizer = make_quantizer("rtn", parse_scheme(scheme), Options(Values{{"search", search}}));
  return quantizer->quantize(weight.matrix(), stats).weight;
}

double squared_distance(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double difference = double(a.f32()[i]) - double(b.f32()[i]);
    sum += difference * difference;
  }
  return sum;
}

TEST(Rtn, QuantizingADequantizedTensorGivesItBack) {
  const Tensor weight = random_matrix(6, 192, 4);
  for (const std::string& scheme : all_schemes()) {
    for (const char* search : {"none", "mse"}) {
      const Tensor once = dequantized(rtn(scheme, weight, search));
      const Tensor twice = dequantized(rtn(scheme, once, "mse"));
      // An f32 scale may come back one rounding off, so that values differ by parts in 2^-22; an f16 scale is
      // exact.
      double norm = 0;
      for (int64_t i = 0; i < once.size(); ++i) norm += double(once.f32()[i]) * double(once.f32()[i]);
      EXPECT_LE(squared_distance(once, twice), 0x1p-40 * norm) << scheme << " " << search;
      EXPECT_GT(squared_distance(once, weight), 0x1p-40 * norm) << scheme;  // control: rounding did something
    }
  }
}

TEST(Rtn, SymmetricGridsFromTheExtremesReturnTheSameCodes) {
  const Tensor weight = random_matrix(6, 192, 5);
  for (const char* scheme :
       {"int2-g32-sym", "int3-g64-sym", "int4-g32-sym", "int8-g32-sym", "int4-g32-offset"}) {
    const QuantizedTensor once = rtn(scheme, weight);
    EXPECT_EQ(rtn(scheme, dequantized(once)), once) << scheme;
  }
}

TEST(Rtn, SymmetricInt8NeverUsesTheLowestCode) {
  const QuantizedTensor q = rtn("int8-channel-sym", random_matrix(4, 96, 6), "mse");
  std::vector<uint8_t> codes(96);
  for (int64_t r = 0; r < q.rows; ++r) {
    q.get_codes(r, codes);
    EXPECT_THAT(codes, testing::Each(testing::Ge(1)));
  }
}

TEST(Rtn, MoreBitsAndSmallerGroupsAreCloser) {
  const Tensor weight = random_matrix(16, 256, 7);
  const auto distance = [&](const char* scheme) {
    return squared_distance(weight, dequantized(rtn(scheme, weight)));
  };
  EXPECT_LT(distance("int3-g32-sym"), distance("int2-g32-sym"));
  EXPECT_LT(distance("int4-g32-sym"), distance("int3-g32-sym") / 2);
  EXPECT_LT(distance("int8-g32-sym"), distance("int4-g32-sym") / 100);
  EXPECT_LT(distance("int4-g32-sym"), distance("int4-g128-sym"));
  EXPECT_LT(distance("int4-g32-offset"), distance("int4-g32-sym"));
}

TEST(Rtn, TheWeightedSearchLowersTheOutputErrorOfUnequalInputs) {
  const Tensor weight = random_matrix(32, 128, 8);
  InputStats stats = stats_of(random_inputs(256, 128, 0, 9));
  stats.hessian = {};  // the diagonal is what the search sees
  const auto error = [&](const char* search) {
    return output_error(weight.matrix(), dequantized(rtn("int3-g32-sym", weight, search, stats)).matrix(),
                        stats)
        .relative;
  };
  EXPECT_LT(error("weighted"), 0.98 * error("mse"));
  EXPECT_LT(error("mse"), error("none"));
}

TEST(Rtn, IsTheSameForOneAndTwoThreads) {
  const Tensor weight = random_matrix(67, 96, 10);
  set_thread_count(1);
  const QuantizedTensor one = rtn("int4-g32-asym", weight, "mse");
  set_thread_count(2);
  EXPECT_EQ(rtn("int4-g32-asym", weight, "mse"), one);
}

TEST(Rtn, RefusesWhatItCannotQuantize) {
  Tensor weight = random_matrix(2, 48, 11);
  EXPECT_EQ(error_of([&] { rtn("int4-g32-sym", weight); }), "group 32 does not divide 48 columns");
  EXPECT_THAT(error_of([&] { rtn("int4-g48-sym", weight, "weighted"); }), testing::HasSubstr("expected 48"));
  weight.f32()[50] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(error_of([&] { rtn("int4-g48-sym", weight); }), "weight [1, 2] is nan; expected a finite number");
}

TEST(Registry, NamesWhatItKnows) {
  const QuantScheme scheme = parse_scheme("int4-g32-sym");
  EXPECT_EQ(error_of([&] { make_quantizer("gtpq", scheme, {}); }),
            "unknown quantizer \"gtpq\"; expected one of rtn, gptq");
  EXPECT_THAT(error_of([&] {
                make_quantizer("rtn", scheme, Options(Values{{"damp", "0.1"}}));
              }),
              testing::AllOf(testing::HasSubstr("unknown option damp"), testing::HasSubstr("search")));
  EXPECT_EQ(error_of([&] {
              make_quantizer("rtn", scheme, Options(Values{{"search", "best"}}));
            }),
            "option search is \"best\"; expected one of none, mse, weighted");
  for (const QuantizerEntry& entry : quantizers())
    EXPECT_FALSE(entry.summary.empty() || entry.options.empty());
}

}  // namespace
}  // namespace edgeq
