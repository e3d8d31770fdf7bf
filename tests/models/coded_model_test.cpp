// SPDX-License-Identifier: Apache-2.0
#include "models/coded_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "formats/gguf_blocks.h"
#include "models/rotary_rows.h"
#include "tests/models/toy_checkpoint.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(RotaryRows, EachOrderIsTheInverseOfTheOther) {
  for (int64_t row = 0; row < 24; ++row) EXPECT_EQ(half_split_row(interleaved_row(row, 8), 8), row);
  EXPECT_EQ(interleaved_row(8 + 4, 8), 8 + 1) << "row d/2 of a head turns with its row 0";
  const QuantizedTensor codes = random_codes(parse_scheme("int3-g4-asym"), 16, 20, 1);
  std::vector<int64_t> back;
  for (int64_t row = 0; row < 16; ++row) back.push_back(interleaved_row(row, 8));
  EXPECT_EQ(select_rows(to_interleaved(codes, 8), back), codes);
  EXPECT_NE(to_interleaved(codes, 8), codes);
}

// The toy model with q_proj and down_proj of layer 0 as codes, rows in the order of GGUF's llama.
class CodedGguf {
 public:
  explicit CodedGguf(float first_scale = 0.5f) {
    const ModelConfig config = toy_config("llama");
    const ToyModel toy = make_toy(config);
    q_ = random_codes(parse_scheme("q4_0"), 32, 32, 3);
    q_.scales[0] = first_scale;
    down_ = random_codes(parse_scheme("q8_0"), 32, 64, 4);
    GgufWriter writer(path());
    for (const auto& [key, value] : gguf_metadata(config)) writer.set(key, value);
    const StoredTensors tensors = gguf_tensors(toy);
    const auto coded = [&](const std::string& name) -> const QuantizedTensor* {
      if (name == "blk.0.attn_q.weight") return &q_;
      return name == "blk.0.ffn_down.weight" ? &down_ : nullptr;
    };
    for (const auto& [name, tensor] : tensors)
      writer.declare(
          name, coded(name) != nullptr ? *block_encoding(coded(name)->scheme) : encoding_of(tensor.dtype()),
          tensor.shape());
    for (const auto& [name, tensor] : tensors) {
      if (coded(name) != nullptr) {
        writer.write(encode_blocks(to_interleaved(*coded(name), name.find("attn") != name.npos ? 8 : 0)));
      } else {
        writer.write({tensor.data(), size_t(tensor.bytes())});
      }
    }
    writer.finish();
  }
  std::string path() const { return folder_.file("toy.gguf"); }
  const QuantizedTensor& q() const { return q_; }
  const QuantizedTensor& down() const { return down_; }

 private:
  TempDir folder_;
  QuantizedTensor q_, down_;
};

TEST(CodedModel, ACheckpointsCodesComeInOurRowOrder) {
  const CodedGguf file;
  const auto model = coded_model(open_checkpoint(file.path()));
  EXPECT_EQ(form_text(model->form("layers.0.attn.q_proj")), "int4-g32-sym");
  EXPECT_EQ(model->weight("layers.0.attn.q_proj").codes, file.q());
  EXPECT_EQ(model->weight("layers.0.mlp.down_proj").codes, file.down());
  EXPECT_EQ(form_text(model->form("layers.1.attn.q_proj")), "F32");
  EXPECT_FALSE(model->weight("layers.1.attn.q_proj").codes);
  EXPECT_THAT(error_of([&] { model->form("layers.7.attn.q_proj"); }), HasSubstr("layers.7.attn.q_proj"));
}

TEST(CodedModel, CodesMeanWhatTheFloatReaderDecodes) {
  const CodedGguf file;
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(file.path());
  const auto model = coded_model(checkpoint);
  for (const char* site : {"layers.0.attn.q_proj", "layers.0.mlp.down_proj", "layers.1.mlp.up_proj"}) {
    const Tensor decoded = checkpoint->load_rows(site, 3, 7);
    const Tensor meant = dequantize(model->weight(site), 3, 7);
    EXPECT_TRUE(std::equal(decoded.f32(), decoded.f32() + decoded.size(), meant.f32())) << site;
  }
}

TEST(CodedModel, AScaleThatIsNoNumberIsRefused) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const CodedGguf file(bad);
    const auto model = coded_model(open_checkpoint(file.path()));
    EXPECT_THAT(error_of([&] { model->weight("layers.0.attn.q_proj"); }),
                AllOf(HasSubstr("toy.gguf"), HasSubstr("blk.0.attn_q.weight"), HasSubstr("scale")));
  }
}

}  // namespace
}  // namespace edgeq
