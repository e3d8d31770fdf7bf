// SPDX-License-Identifier: Apache-2.0
#include "models/packed_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/models/toy_checkpoint.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

// The table in f16, o projections in int8 per channel, everything else int4-g32.
class PackedCheckpointTest : public testing::Test {
 protected:
  std::unique_ptr<Checkpoint> open(uint64_t seed = 1) {
    const std::string path = folder_.file("toy" + std::to_string(seed));
    PackedWriter writer(path, OutputFile::Existing::replace);
    writer.add("embedding", from_f32(toy_.tensors.at("embedding"), DType::f16));
    for (const SiteShape& site : all_sites(toy_.config)) {
      if (site.name == "embedding") continue;
      const bool eight = site.name.ends_with("o_proj");
      weights_[site.name] = random_codes(parse_scheme(eight ? "int8-channel-sym" : "int4-g32-sym"), site.rows,
                                         site.cols, ++seed);
      writer.add(site.name, weights_[site.name]);
    }
    for (const VectorShape& vector : all_vectors(toy_.config))
      writer.add_vector(vector.name, {toy_.tensors.at(vector.name).f32(), size_t(vector.size)});
    writer.finish(toy_.config, std::vector<std::byte>(8, std::byte{1}), "{}");
    return open_packed_checkpoint(PackedModel::open(path));
  }

  TempDir folder_;
  ToyModel toy_ = make_toy(toy_config("qwen2"));
  std::map<std::string, QuantizedTensor> weights_;
};

bool equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), size_t(a.bytes())) == 0;
}

TEST_F(PackedCheckpointTest, LoadsWeightsAsTheirCodesMeanThem) {
  const auto checkpoint = open();
  for (const auto& [name, weight] : weights_) {
    Tensor expected(DType::f32, {weight.rows, weight.cols});
    dequantize_into(weight, expected.matrix());
    EXPECT_TRUE(equal(checkpoint->load(name), expected)) << name;
  }
  EXPECT_TRUE(equal(checkpoint->load("embedding"), toy_.tensors.at("embedding")));
  for (const VectorShape& vector : all_vectors(toy_.config))
    EXPECT_TRUE(equal(checkpoint->load(vector.name), toy_.tensors.at(vector.name))) << vector.name;
  EXPECT_FALSE(checkpoint->has("head"));
  EXPECT_THAT(error_of([&] { checkpoint->load("head"); }), HasSubstr("head"));
}

TEST_F(PackedCheckpointTest, RowsAreThoseOfTheWholeWhereverTheyLie) {
  const auto checkpoint = open();
  for (const char* name : {"embedding", "layers.0.mlp.up_proj", "layers.1.attn.o_proj"}) {
    const Tensor whole = checkpoint->load(name);
    const int64_t rows = whole.rows();
    for (const auto& [first, count] :
         {std::pair<int64_t, int64_t>{0, 1}, {15, 2}, {16, 16}, {5, rows - 5}, {rows, 0}}) {
      const Tensor part = checkpoint->load_rows(name, first, count);
      ASSERT_EQ(part.shape(), (Shape{count, whole.cols()})) << name;
      EXPECT_EQ(std::memcmp(part.data(), whole.matrix().row(first), size_t(part.bytes())), 0)
          << name << first;
    }
    EXPECT_THAT(error_of([&] { checkpoint->load_rows(name, rows - 1, 2); }), HasSubstr(name));
  }
}

TEST_F(PackedCheckpointTest, SaysHowEachTensorIsStoredAndWhoItIs) {
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->encoding("embedding"), "F16");
  EXPECT_EQ(checkpoint->encoding("layers.1.attn.o_proj"), scheme_text(parse_scheme("int8-channel-sym")));
  EXPECT_EQ(checkpoint->encoding("final_norm"), "F32");
  EXPECT_EQ(checkpoint->hash(), open()->hash());
  EXPECT_NE(checkpoint->hash(), open(100)->hash());
}

}  // namespace
}  // namespace edgeq
