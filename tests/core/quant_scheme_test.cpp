// SPDX-License-Identifier: Apache-2.0
#include "core/quant_scheme.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace edgeq {
namespace {

TEST(QuantScheme, TextAndValueAreInversesForEveryScheme) {
  for (int bits = 2; bits <= 8; ++bits)
    for (int64_t group : {0, 16, 32, 64, 128})
      for (Zero zero : {Zero::mid, Zero::integer, Zero::offset})
        for (ScaleStore store : {ScaleStore::f16, ScaleStore::f32}) {
          const QuantScheme scheme{.bits = bits, .group = group, .zero = zero, .store = store};
          EXPECT_EQ(parse_scheme(scheme_text(scheme)), scheme) << scheme_text(scheme);
        }
}

TEST(QuantScheme, TheUsualStoreIsLeftOutOfTheText) {
  EXPECT_EQ(scheme_text({.bits = 4, .group = 64}), "int4-g64-sym");
  EXPECT_EQ(scheme_text({.bits = 8, .group = 0, .store = ScaleStore::f32}), "int8-channel-sym");
  EXPECT_EQ(scheme_text({.bits = 3, .group = 32, .zero = Zero::integer, .store = ScaleStore::f32}),
            "int3-g32-asym-f32");
}

TEST(QuantScheme, GgufNamesAreTheirEquals) {
  EXPECT_EQ(parse_scheme("q4_0"), parse_scheme("int4-g32-sym"));
  EXPECT_EQ(parse_scheme("q4_1"), parse_scheme("int4-g32-offset"));
  EXPECT_EQ(parse_scheme("q8_0"), parse_scheme("int8-g32-sym"));
}

TEST(QuantScheme, BitsPerWeightCountScalesAndZeros) {
  EXPECT_DOUBLE_EQ(parse_scheme("q4_0").bits_per_weight(576), 4.5);
  EXPECT_DOUBLE_EQ(parse_scheme("q4_1").bits_per_weight(576), 5.0);
  EXPECT_DOUBLE_EQ(parse_scheme("int4-g64-asym").bits_per_weight(576), 4 + 24.0 / 64);
  EXPECT_DOUBLE_EQ(parse_scheme("int8-channel-sym").bits_per_weight(512), 8 + 32.0 / 512);
}

TEST(QuantScheme, RefusesWhatIsNotInTheGrammar) {
  for (const char* text :
       {"", "int4", "int4-g64", "int1-g64-sym", "int9-g64-sym", "int4-g0-sym", "int4-g-sym", "int4-g64-symm",
        "int4-g64-sym-f64", "int4-g64-sym-f16-x", "fp4-g64-sym", "int4-g99999999-sym", "int4-x-sym"})
    EXPECT_THAT([&] { parse_scheme(text); },
                testing::ThrowsMessage<Error>(testing::HasSubstr("for example int4-g64-sym")))
        << text;
}

}  // namespace
}  // namespace edgeq
