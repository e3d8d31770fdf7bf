// SPDX-License-Identifier: Apache-2.0
#include "core/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace edgeq {
namespace {

TEST(Tensor, IsZeroedAlignedAndCopiesDeeply) {
  Tensor a(DType::f32, {3, 5});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % 64, 0u);
  EXPECT_THAT(std::vector<float>(a.f32(), a.f32() + 15), testing::Each(0.0f));
  Tensor b = a;
  b.matrix()(2, 4) = 7;
  EXPECT_EQ(a.matrix()(2, 4), 0);
  EXPECT_EQ(b.matrix()(2, 4), 7);
}

TEST(Tensor, AVectorIsOneRow) {
  const Tensor v(DType::f32, {9});
  EXPECT_EQ(v.rows(), 1);
  EXPECT_EQ(v.cols(), 9);
  EXPECT_TRUE(Tensor().empty());
  EXPECT_EQ(Tensor().rows(), 1);
}

TEST(Tensor, SlicesOfAMatrixShareItsElements) {
  Tensor t(DType::f32, {4, 2});
  t.matrix().slice_rows(2, 2)(0, 1) = 5;
  EXPECT_EQ(t.f32()[5], 5);
}

TEST(Tensor, ReadsUnalignedHalves) {
  const uint8_t bytes[] = {0xff, 0x00, 0x3c, 0x00, 0xc0};  // one byte off: 1.0 and -2.0 in binary16
  const TensorView view{DType::f16, {2}, reinterpret_cast<const std::byte*>(bytes + 1)};
  const Tensor f = to_f32(view);
  EXPECT_EQ(f.f32()[0], 1.0f);
  EXPECT_EQ(f.f32()[1], -2.0f);
}

TEST(Tensor, FloatTypesSurviveTheRoundTripOfTheirOwnValues) {
  Tensor t(DType::f32, {3});
  t.f32()[0] = 0.5f, t.f32()[1] = -1.25f, t.f32()[2] = 96.0f;
  for (DType type : {DType::f32, DType::f16, DType::bf16}) {
    const Tensor back = to_f32(from_f32(t, type).view());
    EXPECT_THAT(std::vector<float>(back.f32(), back.f32() + 3), testing::ElementsAre(0.5f, -1.25f, 96.0f));
  }
}

TEST(Tensor, RefusesIntegersAsFloatsAndAbsurdShapes) {
  const Tensor t(DType::i32, {2});
  EXPECT_THAT([&] { to_f32(t.view()); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("I32 is not a float type")));
  EXPECT_THROW(element_count({int64_t(1) << 40, int64_t(1) << 40}), Error);
  EXPECT_THROW(element_count({-1}), Error);
  EXPECT_EQ(shape_text({576, 1536}), "[576, 1536]");
}

TEST(DType, NamesAreInverses) {
  for (DType type : {DType::f32, DType::f16, DType::bf16, DType::f64, DType::i8, DType::u8, DType::i16,
                     DType::i32, DType::i64})
    EXPECT_EQ(parse_dtype(dtype_name(type)), type);
  EXPECT_FALSE(parse_dtype("F8_E4M3"));
}

}  // namespace
}  // namespace edgeq
