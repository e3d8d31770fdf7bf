// SPDX-License-Identifier: Apache-2.0
// The layouts of one quantized linear layer in Hugging Face folders: GPTQ, AWQ and compressed-tensors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>

#include "core/random.h"
#include "formats/awq.h"
#include "formats/compressed_tensors.h"
#include "formats/gptq.h"
#include "formats/safetensors.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

constexpr CompressedFormat kPack = CompressedFormat::pack_quantized, kInt = CompressedFormat::int_quantized;

// Tensors of a layer "m" in memory.
class Layer final : public TensorReader {
 public:
  explicit Layer(std::vector<LayerTensor> parts = {}) {
    for (LayerTensor& part : parts) set(part.part, std::move(part.tensor));
  }
  void set(const std::string& part, Tensor tensor) {
    owned_.insert_or_assign("m." + part, std::move(tensor));
    list();
  }
  void erase(const std::string& part) {
    owned_.erase("m." + part);
    list();
  }
  Tensor& tensor(const std::string& part) { return owned_.at("m." + part); }
  template <class T>
  T* data(const std::string& part) {
    return reinterpret_cast<T*>(tensor(part).data());
  }

  const std::string& path() const override { return path_; }
  const std::vector<EncodedTensor>& tensors() const override { return list_; }
  const EncodedTensor* find(std::string_view name) const override {
    const auto found = std::ranges::find(list_, name, &EncodedTensor::name);
    return found == list_.end() ? nullptr : &*found;
  }

 private:
  void list() {
    list_.clear();
    for (const auto& [name, tensor] : owned_)
      list_.push_back({name, encoding_of(tensor.dtype()), tensor.shape(), tensor.data(), tensor.bytes()});
  }

  std::string path_ = "memory";
  std::map<std::string, Tensor> owned_;
  std::vector<EncodedTensor> list_;
};

QuantizedTensor random_weight(const QuantScheme& scheme, int64_t rows, int64_t cols, int lowest_zero = 0) {
  QuantizedTensor q(scheme, rows, cols);
  Random random(uint64_t(rows * 1000 + cols + scheme.bits));
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    for (uint8_t& code : codes) code = uint8_t(random.below(uint64_t(scheme.max_code()) + 1));
    q.set_codes(r, codes);
  }
  for (float& scale : q.scales) scale = round_to_store(float(random.normal()), scheme.store);
  for (uint8_t& zero : q.zeros)
    zero = uint8_t(lowest_zero + int(random.below(uint64_t(scheme.max_code() - lowest_zero) + 1)));
  return q;
}

void expect_equal(const QuantizedTensor& read, const QuantizedTensor& written) {
  EXPECT_EQ(scheme_text(read.scheme), scheme_text(written.scheme));
  EXPECT_TRUE(read == written) << scheme_text(written.scheme) << " " << written.rows << "x" << written.cols;
}

struct Shape2 {
  int64_t rows, cols;
};
constexpr Shape2 kOddShapes[] = {{32, 32}, {32, 160}, {96, 64}, {160, 96}, {352, 32}};

TEST(Gptq, ReadsBackWhatItWroteForEveryWidthZeroAndVersion) {
  for (const int bits : {2, 3, 4, 8})
    for (const int64_t group : {int64_t(0), int64_t(16), int64_t(32)})
      for (const Zero zero : {Zero::mid, Zero::integer})
        for (const GptqVersion version : {GptqVersion::v1, GptqVersion::v2})
          for (const Shape2& shape : kOddShapes) {
            const QuantScheme scheme{.bits = bits, .group = group, .zero = zero, .store = ScaleStore::f16};
            const QuantizedTensor q =
                random_weight(scheme, shape.rows, shape.cols, version == GptqVersion::v1 ? 1 : 0);
            const Layer layer(write_gptq(q, version));
            expect_equal(
                read_gptq(CodedLayer(layer, "m", shape.rows, shape.cols),
                          {.bits = bits, .group = group, .symmetric = zero == Zero::mid, .version = version}),
                q);
          }
}

TEST(Awq, ReadsBackWhatItWrote) {
  for (const int64_t group : {int64_t(0), int64_t(16), int64_t(32)})
    for (const Zero zero : {Zero::mid, Zero::integer})
      for (const Shape2& shape : {Shape2{8, 32}, Shape2{136, 96}, Shape2{264, 160}}) {
        const QuantizedTensor q = random_weight(
            {.bits = 4, .group = group, .zero = zero, .store = ScaleStore::f16}, shape.rows, shape.cols);
        const Layer layer(write_awq(q));
        expect_equal(read_awq(CodedLayer(layer, "m", shape.rows, shape.cols), group), q);
      }
}

TEST(CompressedTensors, ReadsBackWhatItWrote) {
  for (const int bits : {4, 8})
    for (const int64_t group : {int64_t(0), int64_t(16), int64_t(32)})
      for (const Zero zero : {Zero::mid, Zero::integer})
        for (const ScaleStore store : {ScaleStore::f16, ScaleStore::f32})
          for (const Shape2& shape : {Shape2{1, 32}, Shape2{3, 96}, Shape2{37, 160}}) {
            const QuantScheme scheme{.bits = bits, .group = group, .zero = zero, .store = store};
            const QuantizedTensor q = random_weight(scheme, shape.rows, shape.cols);
            const Layer layer(write_compressed(kPack, q));
            expect_equal(read_compressed(
                             CodedLayer(layer, "m", shape.rows, shape.cols),
                             {.format = kPack, .bits = bits, .group = group, .symmetric = zero == Zero::mid}),
                         q);
          }
  const QuantizedTensor q = random_weight({.bits = 8, .store = ScaleStore::f32}, 5, 7);
  const Layer layer(write_compressed(kInt, q));
  expect_equal(read_compressed(CodedLayer(layer, "m", 5, 7), {.format = kInt, .bits = 8, .group = 0}), q);
}

// A row of codes is one stream in the words of a row (compressed-tensors) and so are the words of columns
// that do not fill the last word.
TEST(CompressedTensors, PadsTheLastWordOfARow) {
  const QuantizedTensor q = random_weight({.bits = 4, .store = ScaleStore::f32}, 2, 7);
  const std::vector<LayerTensor> parts = write_compressed(kPack, q);
  EXPECT_EQ(parts[0].tensor.shape(), (Shape{2, 1}));
  const Layer layer(write_compressed(kPack, q));
  expect_equal(read_compressed(CodedLayer(layer, "m", 2, 7), {.format = kPack, .bits = 4, .group = 0}), q);
}

// Layers packed and unpacked by the tools themselves (tests/golden/make_hf_layers.py).
class Golden : public testing::Test {
 protected:
  using Read = std::function<QuantizedTensor(const CodedLayer&)>;

  CodedLayer layer(const std::string& name) const {
    const Shape& shape = file_.find(name + ".expected")->shape;
    return {file_, name, shape[0], shape[1]};
  }
  // Whether `q` means the weights that the tool reads, bit for bit.
  bool equals_tool(const std::string& name, const QuantizedTensor& q) const {
    const EncodedTensor& expected = *file_.find(name + ".expected");
    Tensor values(DType::f32, expected.shape);
    dequantize_into(q, values.matrix());
    return std::memcmp(values.data(), expected.data, size_t(expected.bytes)) == 0;
  }
  void expect_tool(const std::string& name, const Read& read) const {
    QuantizedTensor q = read(layer(name));
    EXPECT_TRUE(equals_tool(name, q)) << name;
    q.scales[q.scales.size() / 2] *= 1.05f;
    EXPECT_FALSE(equals_tool(name, q)) << name << ": the comparison must notice a scale that is 5 % off";
  }
  // Whether writing `q` gives the tool's bytes.
  void expect_bytes(const std::string& name, const std::vector<LayerTensor>& parts) const {
    for (const LayerTensor& part : parts) {
      const EncodedTensor& stored = *file_.find(name + "." + part.part);
      EXPECT_EQ(part.tensor.shape(), stored.shape) << stored.name;
      ASSERT_EQ(part.tensor.bytes(), stored.bytes) << stored.name;
      EXPECT_EQ(std::memcmp(part.tensor.data(), stored.data, size_t(stored.bytes)), 0) << stored.name;
    }
  }

  SafetensorsFile file_{EDGEQ_SOURCE_DIR "/tests/golden/hf_layers.safetensors"};
};

struct GptqCase {
  std::string name;
  GptqSettings settings;
};
const GptqCase kGptqCases[] = {
    {"gptq.v1-4-sym", {.bits = 4, .group = 16, .symmetric = true, .version = GptqVersion::v1}},
    {"gptq.v1-4-asym", {.bits = 4, .group = 16, .symmetric = false, .version = GptqVersion::v1}},
    {"gptq.v2-4-asym", {.bits = 4, .group = 16, .symmetric = false, .version = GptqVersion::v2}},
    {"gptq.v1-2-asym", {.bits = 2, .group = 16, .symmetric = false, .version = GptqVersion::v1}},
    {"gptq.v1-3-asym", {.bits = 3, .group = 32, .symmetric = false, .version = GptqVersion::v1}},
    {"gptq.v2-8-sym", {.bits = 8, .group = 16, .symmetric = true, .version = GptqVersion::v2}},
    {"gptq.v1-4-act", {.bits = 4, .group = 16, .symmetric = true, .version = GptqVersion::v1}},
};

TEST_F(Golden, GptqModelsLayersMeanItsWeights) {
  for (const GptqCase& c : kGptqCases)
    expect_tool(c.name, [&](const CodedLayer& layer) { return read_gptq(layer, c.settings); });
}

TEST_F(Golden, GptqIsWrittenInGptqModelsBytes) {
  for (const std::string name : {"gptq.v1-4-sym", "gptq.v2-4-asym", "gptq.v2-8-sym"}) {
    const GptqCase& c = *std::ranges::find(kGptqCases, name, &GptqCase::name);
    expect_bytes(name, write_gptq(read_gptq(layer(name), c.settings), c.settings.version));
  }
}

TEST_F(Golden, AutoAwqsLayerMeansItsWeightsAndIsWrittenInItsBytes) {
  expect_tool("awq.asym", [](const CodedLayer& layer) { return read_awq(layer, 16); });
  expect_bytes("awq.asym", write_awq(read_awq(layer("awq.asym"), 16)));
}

TEST_F(Golden, CompressedTensorsLayersMeanItsWeightsAndAreWrittenInItsBytes) {
  const std::map<std::string, CompressedSettings> cases = {
      {"compressed.pack-4-sym", {.format = kPack, .bits = 4, .group = 16, .symmetric = true}},
      {"compressed.pack-4-asym", {.format = kPack, .bits = 4, .group = 16, .symmetric = false}},
      {"compressed.pack-8-channel", {.format = kPack, .bits = 8, .group = 0, .symmetric = true}},
      {"compressed.int-8", {.format = kInt, .bits = 8, .group = 0, .symmetric = true}}};
  for (const auto& [name, settings] : cases) {
    expect_tool(name, [&](const CodedLayer& layer) { return read_compressed(layer, settings); });
    expect_bytes(name, write_compressed(settings.format, read_compressed(layer(name), settings)));
  }
}

TEST(Gptq, BelievesTheZerosOfASymmetricLayerAndNotItsLabel) {
  for (const GptqVersion written : {GptqVersion::v1, GptqVersion::v2})
    for (const GptqVersion labelled : {GptqVersion::v1, GptqVersion::v2}) {
      const QuantizedTensor q = random_weight({.bits = 4, .group = 16}, 32, 32);
      const Layer layer(write_gptq(q, written));
      expect_equal(
          read_gptq(CodedLayer(layer, "m", 32, 32), {.group = 16, .symmetric = true, .version = labelled}),
          q);
    }
}

// The label is all there is for asymmetric layers: the control that it is used.
TEST(Gptq, ReadsAsymmetricZerosByTheLabel) {
  const QuantizedTensor q = random_weight({.bits = 4, .group = 16, .zero = Zero::integer}, 32, 32, 1);
  const Layer layer(write_gptq(q, GptqVersion::v2));
  const QuantizedTensor wrong =
      read_gptq(CodedLayer(layer, "m", 32, 32), {.group = 16, .version = GptqVersion::v1});
  EXPECT_FALSE(wrong == q);
}

TEST(Gptq, RefusesZerosThatContradictASymmetricConfig) {
  const Layer layer(
      write_gptq(random_weight({.bits = 4, .group = 16, .zero = Zero::integer}, 32, 32, 1), GptqVersion::v1));
  EXPECT_EQ(
      error_of([&] { gptq_scheme(CodedLayer(layer, "m", 32, 32), {.group = 16, .symmetric = true}); }),
      "tensor m.qzeros has zero points other than 7 (version 1) or 8 (version 2) though the config calls "
      "the weights symmetric");
}

TEST(Gptq, RefusesToWriteAZeroPointOfZeroInVersionOne) {
  QuantizedTensor q = random_weight({.bits = 4, .group = 16, .zero = Zero::integer}, 32, 32, 1);
  q.zeros[5] = 0;
  EXPECT_EQ(error_of([&] { write_gptq(q, GptqVersion::v1); }),
            "row 2 has a zero point of 0, which GPTQ version 1 cannot store");
  EXPECT_NO_THROW(write_gptq(q, GptqVersion::v2));
}

TEST(Gptq, GroupsInAnotherOrderAreThoseGroups) {
  const QuantizedTensor q = random_weight({.bits = 4, .group = 16}, 32, 64);
  Layer layer(write_gptq(q, GptqVersion::v1));
  // Group 0 of the file is the last of the weight, and so on.
  auto* const index = layer.data<int32_t>("g_idx");
  for (int c = 0; c < 64; ++c) index[c] = 3 - index[c];
  QuantizedTensor reversed = q;
  for (int64_t r = 0; r < 32; ++r)
    for (int64_t g = 0; g < 4; ++g) reversed.scales[size_t(r * 4 + g)] = q.scales[size_t(r * 4 + 3 - g)];
  expect_equal(read_gptq(CodedLayer(layer, "m", 32, 64), {.group = 16, .symmetric = true}), reversed);
}

TEST(Gptq, ScatteredGroupsGiveShortRuns) {
  Layer layer(write_gptq(random_weight({.bits = 4, .group = 16}, 32, 64), GptqVersion::v1));
  layer.data<int32_t>("g_idx")[2] = 3;
  EXPECT_EQ(gptq_scheme(CodedLayer(layer, "m", 32, 64), {.group = 16, .symmetric = true}).group, 1);
  layer.data<int32_t>("g_idx")[3] = 3;
  EXPECT_EQ(gptq_scheme(CodedLayer(layer, "m", 32, 64), {.group = 16, .symmetric = true}).group, 2);
}

TEST(Gptq, AShorterLastGroupGivesGroupsThatDivide) {
  // 96 columns in groups of 64: the second group has 32.
  QuantizedTensor q = random_weight({.bits = 4, .group = 32}, 32, 96);
  for (int64_t r = 0; r < 32; ++r) q.scales[size_t(3 * r + 1)] = q.scales[size_t(3 * r)];
  Layer layer(write_gptq(q, GptqVersion::v1));
  Tensor scales(DType::f16, {2, 32}), zeros(DType::i32, {2, 4});
  std::memcpy(scales.data(), layer.tensor("scales").data(), 64);
  std::memcpy(scales.data() + 64, layer.tensor("scales").data() + 128, 64);
  std::memcpy(zeros.data(), layer.tensor("qzeros").data(), 32);
  layer.set("scales", std::move(scales));
  layer.set("qzeros", std::move(zeros));
  layer.erase("g_idx");
  expect_equal(read_gptq(CodedLayer(layer, "m", 32, 96), {.group = 64, .symmetric = true}), q);
}

// Refusals
// ----------------------------------------------------------------------------------------------------

std::string gptq_error(const std::function<void(Layer&)>& spoil, GptqSettings settings = {.group = 16}) {
  Layer layer(write_gptq(random_weight({.bits = 4, .group = 16}, 32, 64), GptqVersion::v1));
  spoil(layer);
  settings.symmetric = true;
  return error_of([&] { read_gptq(CodedLayer(layer, "m", 32, 64), settings); });
}

TEST(Gptq, RefusesDamagedLayersByName) {
  EXPECT_EQ(gptq_error([](Layer& l) { l.erase("qweight"); }), "tensor m.qweight is missing");
  EXPECT_EQ(gptq_error([](Layer& l) { l.erase("qzeros"); }), "tensor m.qzeros is missing");
  EXPECT_EQ(gptq_error([](Layer& l) {
              l.set("qweight", Tensor(DType::i32, {8, 31}));
            }),
            "tensor m.qweight is I32 [8, 31]; expected I32 [8, 32]");
  EXPECT_EQ(gptq_error([](Layer& l) {
              l.set("qweight", Tensor(DType::f32, {8, 32}));
            }),
            "tensor m.qweight is F32 [8, 32]; expected I32 [8, 32]");
  EXPECT_EQ(gptq_error([](Layer& l) {
              l.set("scales", Tensor(DType::i32, {4, 32}));
            }),
            "tensor m.scales is I32 [4, 32]; expected floats [4, 32]");
  EXPECT_EQ(gptq_error([](Layer& l) { l.data<uint16_t>("scales")[33] = 0x7e00; }),
            "tensor m.scales has nan at element 33; expected finite numbers");
  EXPECT_EQ(gptq_error([](Layer& l) { l.data<int32_t>("g_idx")[7] = 4; }),
            "tensor m.g_idx puts column 7 in group 4; there are 4");
  EXPECT_EQ(gptq_error([](Layer& l) { l.data<int32_t>("g_idx")[7] = -1; }),
            "tensor m.g_idx puts column 7 in group -1; there are 4");
  EXPECT_EQ(gptq_error([](Layer&) {}, {.bits = 5, .group = 16}),
            "tensor m.qweight has 5 bits; expected 2, 3, 4 or 8");
  EXPECT_EQ(gptq_error([](Layer& l) { l.erase("g_idx"); }, {.bits = 4, .group = 32}),
            "tensor m.scales is F16 [4, 32]; expected floats [2, 32]");
}

TEST(Awq, RefusesDamagedLayersByName) {
  const QuantizedTensor q = random_weight({.bits = 4, .group = 16}, 32, 64);
  const auto message = [&](const std::function<void(Layer&)>& spoil, int64_t rows, int64_t group) {
    Layer layer(write_awq(q));
    spoil(layer);
    return error_of([&] { read_awq(CodedLayer(layer, "m", rows, 64), group); });
  };
  EXPECT_EQ(message([](Layer&) {}, 36, 16), "tensor m.qweight packs rows by 8; the config calls for 36 rows");
  EXPECT_EQ(message([](Layer&) {}, 32, 24),
            "tensor m.scales has groups of 24, which do not divide 64 columns");
  EXPECT_EQ(message([](Layer& l) { l.erase("scales"); }, 32, 16), "tensor m.scales is missing");
  EXPECT_EQ(message([](Layer& l) { l.data<uint16_t>("scales")[0] = 0x7c00; }, 32, 16),
            "tensor m.scales has inf at element 0; expected finite numbers");
}

TEST(CompressedTensors, RefusesDamagedLayersByName) {
  const auto packed = [](const std::function<void(Layer&)>& spoil, CompressedSettings settings) {
    Layer layer(write_compressed(kPack, random_weight({.bits = 4, .group = 16}, 8, 64)));
    spoil(layer);
    return error_of([&] { read_compressed(CodedLayer(layer, "m", 8, 64), settings); });
  };
  const CompressedSettings good{.format = kPack, .bits = 4, .group = 16};
  EXPECT_EQ(packed([](Layer& l) { l.data<int64_t>("weight_shape")[1] = 63; }, good),
            "tensor m.weight_shape is [8, 63]; the config calls for [8, 64]");
  EXPECT_EQ(packed([](Layer& l) { l.erase("weight_shape"); }, good), "tensor m.weight_shape is missing");
  EXPECT_EQ(packed([](Layer&) {}, {.format = kPack, .bits = 3, .group = 16}),
            "tensor m.weight_packed has 3 bits; expected 2, 4 or 8");
  EXPECT_EQ(packed([](Layer&) {}, {.format = kPack, .bits = 4, .group = 16, .symmetric = false}),
            "tensor m.weight_zero_point is missing");
  EXPECT_EQ(packed([](Layer&) {}, {.format = kPack, .bits = 4, .group = 48}),
            "tensor m.weight_scale has groups of 48, which do not divide 64 columns");
  Layer bytes(write_compressed(kInt, random_weight({.bits = 8, .store = ScaleStore::f32}, 8, 64)));
  bytes.data<int8_t>("weight")[3] = 9;
  EXPECT_THAT(error_of([&] {
                read_compressed(CodedLayer(bytes, "m", 8, 64), {.format = kInt, .bits = 4, .group = 0});
              }),
              HasSubstr("4-bit codes are -8 to 7"));
}

TEST(HfLayers, SayWhyTheyCannotHoldAScheme) {
  const QuantScheme offset{.bits = 4, .group = 32, .zero = Zero::offset}, five{.bits = 5, .group = 32},
      wide{.bits = 4, .group = 32, .store = ScaleStore::f32}, good{.bits = 4, .group = 64};
  EXPECT_EQ(gptq_obstacle(good, 64, 128), std::nullopt);
  EXPECT_EQ(gptq_obstacle(five, 64, 128), "GPTQ has no 5-bit codes");
  EXPECT_EQ(gptq_obstacle(offset, 64, 128), "GPTQ has integer zero points, not float offsets");
  EXPECT_EQ(gptq_obstacle(wide, 64, 128), "GPTQ keeps scales in f16");
  EXPECT_EQ(gptq_obstacle({.bits = 4, .group = 48}, 64, 96),
            "GPTQ has groups of 16 to 1024 by powers of two, not of 48");
  EXPECT_EQ(gptq_obstacle(good, 63, 128),
            "GPTQ packs rows into words of 32 bits; 63 x 4 bits are no whole number of them");
  EXPECT_EQ(awq_obstacle(good, 64), std::nullopt);
  EXPECT_EQ(awq_obstacle(good, 63), "AWQ packs rows by 8; there are 63");
  EXPECT_EQ(awq_obstacle({.bits = 8, .group = 64}, 64), "AWQ has 4-bit codes, not 8-bit");
  EXPECT_EQ(awq_obstacle({.bits = 4, .group = 256}, 64), "AWQ has groups of 16, 32, 64 or 128, not of 256");
  EXPECT_EQ(compressed_obstacle(kPack, wide), std::nullopt);
  EXPECT_EQ(compressed_obstacle(kPack, five), "pack-quantized is loaded with 4 or 8 bits, not 5");
  EXPECT_EQ(compressed_obstacle(kPack, offset),
            "compressed-tensors has integer zero points, not float offsets");
  EXPECT_EQ(gptq_obstacle(parse_scheme("iq4_nl"), 64, 128),
            "GPTQ has evenly spaced codes, no table of levels");
  EXPECT_EQ(gptq_obstacle(parse_scheme("int4-g32-s8"), 64, 128), "GPTQ keeps scales in f16");
  EXPECT_EQ(awq_obstacle(parse_scheme("iq4_nl"), 64), "AWQ has evenly spaced codes, no table of levels");
  EXPECT_EQ(awq_obstacle(parse_scheme("int4-g32-s8"), 64), "AWQ keeps scales in f16");
  EXPECT_EQ(compressed_obstacle(kPack, parse_scheme("iq4_nl")),
            "compressed-tensors has evenly spaced codes, no table of levels");
  EXPECT_EQ(compressed_obstacle(kPack, parse_scheme("int4-g32-s8")),
            "compressed-tensors has one float for each scale");
  EXPECT_EQ(compressed_obstacle(kInt, good), "int-quantized has 8 bits, not 4");
  EXPECT_EQ(compressed_obstacle(kInt, {.bits = 8, .group = 32}), "int-quantized has one scale for each row");
  EXPECT_EQ(compressed_obstacle(kInt, {.bits = 8, .zero = Zero::integer}),
            "int-quantized is loaded with symmetric weights only");
}

}  // namespace
}  // namespace edgeq
