// SPDX-License-Identifier: Apache-2.0
// Quantized Hugging Face folders as checkpoints.
#include "models/coded_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "formats/awq.h"
#include "models/import.h"
#include "tests/models/toy_checkpoint.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr auto kPack = CompressedFormat::pack_quantized, kInt = CompressedFormat::int_quantized;

const std::string kGptq = R"({"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": true})";
const std::string kAwq =
    R"({"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": true, "version": "GEMM"})";

std::string compressed_config(const std::string& groups, const std::string& more = "") {
  return R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {)" + groups +
         "}" + more + "}";
}
const std::string kW4 =
    R"("group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "strategy": "group", "group_size": 16}})";

// A toy whose weights lie in codes, as a folder.
class CodedToy {
 public:
  using Write = std::function<std::vector<LayerTensor>(const QuantizedTensor&)>;

  CodedToy() : toy_(make_toy(toy_config())), stored_(hf_tensors(toy_, DType::f16)) {}

  // Puts random codes of a scheme in the place of a layer.
  void put(const std::string& site, const QuantScheme& scheme, const Write& write) {
    const Tensor& matrix = toy_.tensors.at(site);
    QuantizedTensor q = random_codes(scheme, matrix.rows(), matrix.cols(), codes.size() + 1);
    for (uint8_t& zero : q.zeros) zero = std::max<uint8_t>(zero, 1);  // version 1 has no place for 0
    stored_.erase(checkpoint_name(site, Naming::hf, "llama"));
    for (LayerTensor& part : write(q))
      stored_.insert_or_assign(part_name(site, part.part), std::move(part.tensor));
    codes.insert_or_assign(site, std::move(q));
  }
  void put_all(const QuantScheme& scheme, const Write& write) {
    for (const SiteShape& site : all_sites(toy_.config))
      if (site.name != "embedding") put(site.name, scheme, write);
  }
  Tensor& part(const std::string& site, const std::string& part) { return stored_.at(part_name(site, part)); }
  void erase(const std::string& site, const std::string& part) { stored_.erase(part_name(site, part)); }
  void add(const std::string& name, Tensor tensor) { stored_.emplace(name, std::move(tensor)); }

  std::string write(const TempDir& folder, const std::string& quantization) const {
    std::string config = toy_hf_config(toy_.config);
    if (!quantization.empty()) config.insert(1, "\"quantization_config\": " + quantization + ", ");
    folder.write("config.json", config);
    std::filesystem::remove(folder.file("model.safetensors"));
    write_safetensors(folder.file("model.safetensors"), stored_);
    return folder.path().string();
  }
  std::unique_ptr<Checkpoint> open(const std::string& quantization) const {
    const TempDir folder;
    return open_checkpoint(write(folder, quantization));  // mapped: it may be removed
  }
  std::string error(const std::string& quantization) const {
    return error_of([&] { open(quantization); });
  }
  // Every layer gives its codes, and floats that mean them; the rest is as it was.
  void expect_read(const std::string& quantization) const {
    const auto checkpoint = open(quantization);
    for (const SiteShape& site : all_sites(toy_.config)) {
      const auto coded = codes.find(site.name);
      const auto read = checkpoint->codes(site.name);
      ASSERT_EQ(read.has_value(), coded != codes.end()) << site.name;
      Tensor expected = toy_.tensors.at(site.name);
      if (read) {
        EXPECT_TRUE(*read == coded->second) << site.name;
        EXPECT_EQ(checkpoint->scheme(site.name), read->scheme);
        EXPECT_EQ(checkpoint->encoding(site.name), scheme_text(read->scheme));
        dequantize_into(coded->second, expected.matrix());
      }
      const Tensor loaded = checkpoint->load(site.name);
      EXPECT_EQ(std::memcmp(loaded.data(), expected.data(), size_t(expected.bytes())), 0) << site.name;
      const Tensor row = checkpoint->load_rows(site.name, 3, 1);
      EXPECT_EQ(std::memcmp(row.data(), expected.matrix().row(3), size_t(row.bytes())), 0) << site.name;
    }
  }

  std::map<std::string, QuantizedTensor> codes;

 private:
  static std::string part_name(const std::string& site, const std::string& part) {
    std::string name = checkpoint_name(site, Naming::hf, "llama");
    return name.substr(0, name.size() - std::string("weight").size()) + part;
  }

  ToyModel toy_;
  StoredTensors stored_;
};

std::vector<LayerTensor> gptq_v1(const QuantizedTensor& q) { return write_gptq(q, GptqVersion::v1); }
std::vector<LayerTensor> gptq_v2(const QuantizedTensor& q) { return write_gptq(q, GptqVersion::v2); }
std::vector<LayerTensor> packed(const QuantizedTensor& q) { return write_compressed(kPack, q); }
std::vector<LayerTensor> bytes(const QuantizedTensor& q) { return write_compressed(kInt, q); }

CodedToy gptq_toy() {
  CodedToy toy;
  toy.put_all({.bits = 4, .group = 16}, gptq_v1);
  return toy;
}

CodedToy packed_toy() {
  CodedToy toy;
  toy.put_all({.bits = 4, .group = 16}, packed);
  return toy;
}

const std::string kUp = "layers.1.mlp.up_proj";

TEST(CodedFolder, GivesTheCodesOfEveryLayout) {
  gptq_toy().expect_read(kGptq);
  CodedToy asymmetric;
  asymmetric.put_all({.bits = 4, .group = 16, .zero = Zero::integer}, gptq_v2);
  asymmetric.expect_read(R"({"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": false,
                            "checkpoint_format": "gptq_v2"})");
  CodedToy awq;
  awq.put_all({.bits = 4, .group = 16, .zero = Zero::integer}, write_awq);
  awq.expect_read(kAwq);
  packed_toy().expect_read(compressed_config(kW4));
  CodedToy bytes_toy;
  bytes_toy.put_all({.bits = 8, .store = ScaleStore::f32}, bytes);
  bytes_toy.expect_read(compressed_config(
      R"("group_0": {"targets": ["Linear"], "format": "int-quantized",
          "weights": {"num_bits": 8, "strategy": "channel"},
          "input_activations": {"num_bits": 8, "strategy": "token", "dynamic": true}})",
      R"(, "ignore": ["lm_head"], "transform_config": {}, "sparsity_config": {})"));
}

TEST(CodedFolder, SaysWhatAModelThatRoundsActivationsLosesByBeingRead) {
  const auto notes = [](const std::string& inputs) {
    const QuantizationConfig config(
        R"({"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups":
            {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "strategy": "channel"},
                         "input_activations": )" +
        inputs + "}}}");
    return config.notes().empty() ? std::string() : config.notes()[0];
  };
  EXPECT_EQ(notes("null"), "");
  EXPECT_THAT(notes(R"({"num_bits": 8, "dynamic": true})"),
              AllOf(HasSubstr("rounds activations"), Not(HasSubstr("input scales"))));
  EXPECT_THAT(notes(R"({"num_bits": 8, "strategy": "tensor", "dynamic": false})"), HasSubstr("input scales"));
}

TEST(CodedFolder, ReadsAFileOfItsOwnWithTheOldNames) {
  const CodedToy toy = gptq_toy();
  const TempDir folder;
  toy.write(folder, "");
  EXPECT_THAT(error_of([&] { open_checkpoint(folder.path().string()); }),
              HasSubstr("q_proj.weight is missing"));
  folder.write("quantize_config.json", R"({"bits": 4, "group_size": 16, "sym": true, "desc_act": false})");
  EXPECT_TRUE(open_checkpoint(folder.path().string())->codes(kUp).has_value());
  EXPECT_EQ(QuantizationConfig(R"({"w_bit": 4, "q_group_size": 64, "zero_point": true})").method(), "awq");
}

TEST(CodedFolder, LayersMayDiffer) {
  CodedToy toy;
  for (const SiteShape& site : all_sites(toy_config())) {
    if (site.name.ends_with("down_proj")) toy.put(site.name, {.bits = 8, .store = ScaleStore::f32}, packed);
    if (site.name.ends_with("q_proj")) toy.put(site.name, {.bits = 4, .group = 32}, packed);
  }
  const std::string groups =
      R"("a": {"targets": ["re:.*down_proj$"], "weights": {"num_bits": 8, "strategy": "channel"}},
         "b": {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 4, "group_size": 32}},
         "c": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 16}})";
  toy.expect_read(compressed_config(groups, R"(, "ignore": ["re:.*up_proj", "lm_head"])"));

  CodedToy dynamic;
  dynamic.put("layers.0.mlp.down_proj", {.bits = 8, .group = 32}, gptq_v1);
  dynamic.put("layers.1.mlp.down_proj", {.bits = 4, .group = 16}, gptq_v1);
  dynamic.expect_read(R"({"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": true,
      "dynamic": {"+:.*\\.0\\..*down_proj": {"bits": 8, "group_size": 32}, "-:.*q_proj": {}}})");
}

TEST(CodedFolder, TheHashFollowsTheCodesAndTheScales) {
  CodedToy toy = gptq_toy();
  const std::string hash = toy.open(kGptq)->hash();
  EXPECT_EQ(toy.open(kGptq)->hash(), hash);
  for (const char* part : {"qweight", "scales"}) {
    CodedToy changed = gptq_toy();
    changed.part(kUp, part).data()[0] ^= std::byte(1);
    EXPECT_NE(changed.open(kGptq)->hash(), hash) << part;
  }
}

TEST(CodedFolder, ScatteredGroupsAreReadAsFloats) {
  CodedToy toy = gptq_toy();
  auto* const index = reinterpret_cast<int32_t*>(toy.part(kUp, "g_idx").data());
  std::swap(index[0], index[31]);
  const auto checkpoint = toy.open(kGptq);
  EXPECT_EQ(checkpoint->codes(kUp), std::nullopt);
  EXPECT_EQ(checkpoint->scheme(kUp), std::nullopt);
  EXPECT_EQ(checkpoint->encoding(kUp), "codes");
  const QuantizedTensor& q = toy.codes.at(kUp);
  std::vector<uint8_t> codes(32);
  q.get_codes(0, codes);
  const Tensor loaded = checkpoint->load(kUp);
  EXPECT_EQ(loaded.f32()[0], q.scale(0, 1) * float(codes[0] - 8));
  EXPECT_EQ(loaded.f32()[1], q.scale(0, 0) * float(codes[1] - 8));
  EXPECT_EQ(loaded.f32()[31], q.scale(0, 0) * float(codes[31] - 8));
}

TEST(CodedFolder, ACodedHeadIsNotTied) {
  CodedToy toy = gptq_toy();
  const QuantizedTensor head = random_codes({.bits = 4, .group = 16}, 40, 32, 9);
  for (LayerTensor& part : write_gptq(head, GptqVersion::v1))
    toy.add("lm_head." + part.part, std::move(part.tensor));
  const auto checkpoint = toy.open(kGptq);
  EXPECT_FALSE(checkpoint->config().tied_head);
  EXPECT_EQ(*checkpoint->codes("head"), head);
}

TEST(CodedFolder, RefusesDamageByName) {
  const auto spoiled = [](const std::function<void(CodedToy&)>& spoil) {
    CodedToy toy = gptq_toy();
    spoil(toy);
    return toy.error(kGptq);
  };
  const std::string name = "model.layers.1.mlp.up_proj.";
  EXPECT_THAT(spoiled([](CodedToy& t) { t.erase(kUp, "qzeros"); }), HasSubstr(name + "qzeros is missing"));
  EXPECT_THAT(spoiled([](CodedToy& t) { t.erase(kUp, "scales"); }), HasSubstr(name + "scales is missing"));
  EXPECT_THAT(spoiled([](CodedToy& t) { t.erase(kUp, "qweight"); }), HasSubstr("tensor " + name));
  EXPECT_THAT(
      spoiled([](CodedToy& t) { reinterpret_cast<uint16_t*>(t.part(kUp, "scales").data())[1] = 0x7e01; }),
      HasSubstr(name + "scales has nan"));
  EXPECT_THAT(spoiled([](CodedToy& t) {
                t.part(kUp, "g_idx") = Tensor(DType::i32, {32, 1});
              }),
              HasSubstr(name + "g_idx is not a vector"));
  EXPECT_THAT(spoiled([](CodedToy& t) { t.part(kUp, "g_idx") = Tensor(DType::i32, {24}); }),
              HasSubstr(name + "qweight is I32 [4, 64]; expected I32 [3, 64]"));
  EXPECT_THAT(spoiled([](CodedToy& t) { t.part(kUp, "qweight") = Tensor(DType::i32, {8}); }),
              HasSubstr(name + "qweight is not a matrix"));
  EXPECT_THAT(spoiled([](CodedToy& t) { t.add("model.layers.1.mlp.extra.scales", Tensor(DType::f32, {1})); }),
              HasSubstr("mlp.extra.scales is not part of a llama model"));
}

TEST(CodedFolder, RefusesAShapeOfAnotherModel) {
  CodedToy toy = packed_toy();
  reinterpret_cast<int64_t*>(toy.part(kUp, "weight_shape").data())[0] = int64_t(1) << 62;
  EXPECT_THAT(toy.error(compressed_config(kW4)),
              HasSubstr("up_proj.weight_shape is [4611686018427387904, 32]; expected a matrix"));
  reinterpret_cast<int64_t*>(toy.part(kUp, "weight_shape").data())[0] = -1;
  EXPECT_THAT(toy.error(compressed_config(kW4)),
              HasSubstr("up_proj.weight_shape is [-1, 32]; expected a matrix"));
  const QuantizedTensor larger = random_codes({.bits = 4, .group = 16}, 72, 32, 1);
  for (LayerTensor& part : packed(larger)) toy.part(kUp, part.part) = std::move(part.tensor);
  EXPECT_THAT(toy.error(compressed_config(kW4)),
              HasSubstr("up_proj.weight has shape [72, 32]; the config calls for [64, 32]"));
}

TEST(CodedFolder, RefusesCodesThatTheConfigLeavesOut) {
  EXPECT_THAT(packed_toy().error(compressed_config(kW4, R"(, "ignore": ["model.layers.1.mlp.up_proj"])")),
              HasSubstr("model.layers.1.mlp.up_proj holds codes, but quantization_config leaves it out"));
  EXPECT_THAT(
      gptq_toy().error(R"({"bits": 4, "group_size": 16, "sym": true, "dynamic": {"-:.*up_proj": {}}})"),
      HasSubstr("holds codes, but quantization_config leaves it out"));
}

std::string config_error(const std::string& json) {
  return error_of([&] { QuantizationConfig config(json); });
}

TEST(QuantizationConfig, RefusesWhatIsNotRead) {
  EXPECT_EQ(config_error(R"({"quant_method": "fp8"})"),
            "the checkpoint is quantized by \"fp8\"; expected floats, or gptq, awq or compressed-tensors");
  EXPECT_EQ(config_error(R"({"quant_method": "gptq"})"), "quantization_config: bits is missing");
  EXPECT_EQ(config_error(R"({"bits": 4, "checkpoint_format": "marlin"})"),
            "quantization_config: checkpoint_format \"marlin\" is not read; expected gptq or gptq_v2");
  EXPECT_EQ(config_error(R"({"bits": 64})"),
            "quantization_config: bits is 64; expected a number from 1 to 8");
  EXPECT_EQ(config_error(R"({"bits": 18446744073709551615})"),
            "quantization_config: bits is 18446744073709551615; expected a number from 1 to 8");
  EXPECT_EQ(config_error(R"({"bits": 4, "group_size": 0})"),
            "quantization_config: group_size is 0; expected -1 or at least 1");
  EXPECT_EQ(config_error(R"({"bits": 4, "pack_dtype": "int16"})"),
            "quantization_config: pack_dtype \"int16\" is not read; expected int32");
  EXPECT_EQ(config_error(R"({"bits": 4, "dynamic": {"+:(": {}}})").substr(0, 10), "expression");
  EXPECT_EQ(config_error(R"({"quant_method": "awq", "bits": 8})"),
            "quantization_config: bits is 8; expected 4");
  EXPECT_EQ(config_error(R"({"quant_method": "awq", "version": "gemv"})"),
            "quantization_config: AWQ version \"gemv\" is not read; expected gemm");
  EXPECT_EQ(config_error(R"({"quant_method": "awq", "zero_point": false})"),
            "quantization_config: AWQ without zero points (zero_point: false) is not read");
  EXPECT_EQ(config_error(compressed_config("")), "quantization_config: config_groups is missing or empty");
  EXPECT_THAT(config_error(compressed_config(kW4, R"(, "transform_config": {"config_groups": {"R1": {}}})")),
              HasSubstr("transform_config is not read"));
  EXPECT_THAT(config_error(compressed_config(kW4, R"(, "sparsity_config": {"format": "sparse-24-bitmask"})")),
              HasSubstr("sparsity_config is not read"));
  EXPECT_THAT(config_error(compressed_config(R"("a": {"weights": {"num_bits": 8, "type": "float"}})")),
              HasSubstr("weights of type \"float\" are not read"));
  EXPECT_THAT(config_error(compressed_config(R"("a": {"weights": {"strategy": "block"}})")),
              HasSubstr("weights of strategy \"block\" are not read"));
  EXPECT_THAT(config_error(compressed_config(R"("a": {"format": "nvfp4-pack-quantized", "weights": {}})")),
              HasSubstr("format \"nvfp4-pack-quantized\" is not read"));
  EXPECT_EQ(config_error("[1"), "not valid JSON");
  EXPECT_EQ(config_error("3"), "quantization_config is not an object");
  EXPECT_EQ(config_error(std::string(40, '[')), "nested too deeply");
}

}  // namespace
}  // namespace edgeq
