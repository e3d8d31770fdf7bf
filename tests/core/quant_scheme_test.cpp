// SPDX-License-Identifier: Apache-2.0
#include "core/quant_scheme.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/random_quantized.h"

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

TEST(QuantScheme, EveryTextNamesOneSchemeAndIsGivenBack) {
  for (const std::string& text : all_scheme_texts()) {
    const QuantScheme scheme = parse_scheme(text);
    EXPECT_EQ(parse_scheme(scheme_text(scheme)), scheme) << text;
    EXPECT_LE(scheme_text(scheme).size(), text.size()) << text;  // the usual store and "sym" may be left out
  }
  for (const char* text : {"int4-g32-s8", "int3-g64-asym-s8", "iq4nl-g32", "iq4nl-g64-s8", "iq4nl-channel",
                           "iq4nl-g32-f32", "q4_k", "q5_k", "q6_k"})
    EXPECT_EQ(scheme_text(parse_scheme(text)), text);
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
  EXPECT_EQ(parse_scheme("q5_0"), parse_scheme("int5-g32-sym"));
  EXPECT_EQ(parse_scheme("q5_1"), parse_scheme("int5-g32-offset"));
  EXPECT_EQ(parse_scheme("q8_0"), parse_scheme("int8-g32-sym"));
  EXPECT_EQ(parse_scheme("iq4_nl"), parse_scheme("iq4nl-g32"));
  EXPECT_EQ(parse_scheme("iq4_nl"), parse_scheme("iq4nl-g32-sym-f16"));
}

TEST(QuantScheme, BitsPerWeightCountScalesAndZeros) {
  EXPECT_DOUBLE_EQ(parse_scheme("q4_0").bits_per_weight(576), 4.5);
  EXPECT_DOUBLE_EQ(parse_scheme("q4_1").bits_per_weight(576), 5.0);
  EXPECT_DOUBLE_EQ(parse_scheme("int4-g64-asym").bits_per_weight(576), 4 + 24.0 / 64);
  EXPECT_DOUBLE_EQ(parse_scheme("int8-channel-sym").bits_per_weight(512), 8 + 32.0 / 512);
  EXPECT_DOUBLE_EQ(parse_scheme("iq4_nl").bits_per_weight(576), 4.5);
  EXPECT_DOUBLE_EQ(parse_scheme("iq4nl-g32-s8").bits_per_weight(576), 4.25 + 32.0 / 576);
  EXPECT_DOUBLE_EQ(parse_scheme("int4-g32-asym-s8").bits_per_weight(576), 4.5 + 32.0 / 576);
  EXPECT_DOUBLE_EQ(parse_scheme("q4_k").bits_per_weight(512), 144 * 8.0 / 256);
  EXPECT_DOUBLE_EQ(parse_scheme("q5_k").bits_per_weight(512), 176 * 8.0 / 256);
  EXPECT_DOUBLE_EQ(parse_scheme("q6_k").bits_per_weight(512), 210 * 8.0 / 256);
}

TEST(QuantScheme, GroupsAndSuperBlocksHaveToDivideTheColumns) {
  EXPECT_NO_THROW(check_columns(parse_scheme("q6_k"), 512));
  EXPECT_NO_THROW(check_columns(parse_scheme("iq4nl-channel"), 577));
  EXPECT_THAT([] { check_columns(parse_scheme("iq4_nl"), 80); },
              testing::ThrowsMessage<Error>("group 32 does not divide 80 columns"));
  EXPECT_THAT([] { check_columns(parse_scheme("q4_k"), 576); },
              testing::ThrowsMessage<Error>("q4_k has super-blocks of 256, which do not divide 576 columns"));
}

TEST(QuantScheme, RefusesWhatIsNotInTheGrammar) {
  for (const char* text : {"",
                           "int4",
                           "int4-g64",
                           "int1-g64-sym",
                           "int9-g64-sym",
                           "int4-g0-sym",
                           "int4-g-sym",
                           "int4-g64-symm",
                           "int4-g64-sym-f64",
                           "int4-g64-sym-f16-x",
                           "fp4-g64-sym",
                           "int4-g99999999-sym",
                           "int4-x-sym",
                           "int4-g32",
                           "int4-channel-s8",
                           "int4-g32-offset-s8",
                           "int4-g32-s8-asym",
                           "int4-g32-s9",
                           "iq4nl",
                           "iq5nl-g32",
                           "iq4nl-g32-asym",
                           "iq4nl-g32-offset",
                           "iq4nl-channel-s8",
                           "q4_k-s8",
                           "q3_k",
                           "Q4_K"})
    EXPECT_THAT([&] { parse_scheme(text); },
                testing::ThrowsMessage<Error>(testing::HasSubstr("for example int4-g64-sym")))
        << text;
}

}  // namespace
}  // namespace edgeq
