// SPDX-License-Identifier: Apache-2.0
#include "models/packed_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "core/hash.h"
#include "formats/panels.h"
#include "formats/safetensors.h"
#include "tests/models/toy_checkpoint.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A complete packed model: the table as f16 panels, every linear layer under its own scheme.
struct PackedToy {
  ToyModel toy;
  std::map<std::string, QuantizedTensor> quantized;
};
PackedToy make_packed_toy() {
  const char* schemes[] = {"int4-g32-sym",      "int8-channel-sym", "int3-g32-asym", "int2-g32-offset",
                           "int4-channel-asym", "int5-g32-sym-f32", "q8_0"};
  PackedToy packed{make_toy(toy_config("qwen2")), {}};
  uint64_t seed = 0;
  for (const SiteShape& site : all_sites(packed.toy.config)) {
    if (site.name == "embedding") continue;
    const QuantScheme scheme = parse_scheme(schemes[seed++ % std::size(schemes)]);
    packed.quantized.emplace(site.name, random_codes(scheme, site.rows, site.cols, seed));
  }
  return packed;
}

std::vector<std::byte> tokenizer_bytes() { return std::vector<std::byte>(101, std::byte{42}); }

// Writes everything but the tensor named `without`.
int64_t write_packed(const std::string& path, const PackedToy& packed, std::string_view without = "",
                     const KvScheme& kv = {}) {
  PackedWriter writer(path);
  writer.set_kv(kv);
  writer.add("embedding", from_f32(packed.toy.tensors.at("embedding"), DType::f16));
  for (const auto& [name, weight] : packed.quantized)
    if (name != without) writer.add(name, weight);
  for (const VectorShape& vector : all_vectors(packed.toy.config))
    if (vector.name != without)
      writer.add_vector(vector.name, {packed.toy.tensors.at(vector.name).f32(), size_t(vector.size)});
  return writer.finish(packed.toy.config, tokenizer_bytes(), R"({"recipe": "test"})");
}

TEST(PackedModel, GivesBackWhatWasWritten) {
  const PackedToy packed = make_packed_toy();
  const TempDir folder;
  const std::string path = folder.file("toy.safetensors");
  const int64_t bytes = write_packed(path, packed);
  const PackedModel model = PackedModel::open(path);
  EXPECT_EQ(model.path(), path);
  EXPECT_EQ(model.config(), packed.toy.config);
  EXPECT_EQ(model.provenance_json(), R"({"recipe": "test"})");
  EXPECT_EQ(model.file_bytes(), bytes);
  const auto tokenizer = tokenizer_bytes();
  EXPECT_TRUE(std::ranges::equal(model.tokenizer(), tokenizer));
  ASSERT_EQ(model.weights().size(), packed.quantized.size() + 1);
  for (const auto& [name, expected] : packed.quantized) {
    const PackedWeight& weight = model.weight(name);
    ASSERT_TRUE(weight.scheme) << name;
    EXPECT_EQ(unpack_panels(*weight.scheme, weight.rows, weight.cols, weight.panels), expected) << name;
  }
  const PackedWeight& table = model.weight("embedding");
  ASSERT_TRUE(table.dtype && !table.scheme);
  const Tensor unpacked = unpack_float_panels(*table.dtype, table.rows, table.cols, table.panels);
  EXPECT_EQ(
      std::memcmp(to_f32(unpacked.view()).data(), packed.toy.tensors.at("embedding").data(), 40 * 32 * 4), 0);
  for (const VectorShape& vector : all_vectors(packed.toy.config))
    EXPECT_TRUE(std::ranges::equal(model.vector(vector.name),
                                   std::span(packed.toy.tensors.at(vector.name).f32(), size_t(vector.size))));
}

TEST(PackedModel, SaysHowKeysAndValuesAreKept) {
  const PackedToy packed = make_packed_toy();
  const TempDir folder;
  write_packed(folder.file("plain"), packed);
  EXPECT_EQ(PackedModel::open(folder.file("plain")).kv(), KvScheme{});
  EXPECT_FALSE(SafetensorsFile(MappedFile::open(folder.file("plain"))).metadata().contains("kv"));
  const KvScheme kv{KvType::int8, KvType::int4};
  write_packed(folder.file("kv"), packed, "", kv);
  EXPECT_EQ(PackedModel::open(folder.file("kv")).kv(), kv);
}

TEST(PackedModel, SaysHowItsInputsAreRead) {
  const PackedToy packed = make_packed_toy();
  const TempDir folder;
  write_packed(folder.file("plain"), packed);
  const std::string& site = packed.quantized.begin()->first;
  EXPECT_EQ(PackedModel::open(folder.file("plain")).activations(), Activations::int8_block);
  EXPECT_EQ(PackedModel::open(folder.file("plain")).weight(site).input_scale, 0);
  const auto write = [&](float scale) {
    PackedWriter writer(folder.file("static"), OutputFile::Existing::replace);
    writer.set_activations(Activations::int8_static);
    writer.add("embedding", from_f32(packed.toy.tensors.at("embedding"), DType::f16));
    for (const auto& [name, weight] : packed.quantized) writer.add(name, weight, scale);
    for (const VectorShape& vector : all_vectors(packed.toy.config))
      writer.add_vector(vector.name, {packed.toy.tensors.at(vector.name).f32(), size_t(vector.size)});
    writer.finish(packed.toy.config, tokenizer_bytes(), "{}");
  };
  write(0.1f);
  const PackedModel model = PackedModel::open(folder.file("static"));
  EXPECT_EQ(model.activations(), Activations::int8_static);
  EXPECT_EQ(model.weight(site).input_scale, 0.1f);
  write(-0.1f);
  EXPECT_THAT([&] { PackedModel::open(folder.file("static")); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("input scale -0.1; expected a positive")));
}

TEST(PackedModel, SizesCountPanelsWithTheirPadding) {
  const PackedToy packed = make_packed_toy();
  const TempDir folder;
  write_packed(folder.file("toy.safetensors"), packed);
  const PackedModel model = PackedModel::open(folder.file("toy.safetensors"));
  int64_t bytes = 48 * 32 * 2;  // the table: 40 rows padded to 48, f16
  for (const auto& [name, weight] : packed.quantized) {
    const PanelShape shape = panel_shape(weight.scheme, weight.rows, weight.cols);
    bytes += shape.panels * shape.bytes;
  }
  EXPECT_EQ(model.weight_bytes(), bytes);
  EXPECT_DOUBLE_EQ(model.bits_per_weight(), 8.0 * double(bytes) / double(packed.toy.config.weight_count()));
}

TEST(PackedModel, NamesWhatIsAbsent) {
  const TempDir folder;
  write_packed(folder.file("toy.safetensors"), make_packed_toy());
  const PackedModel model = PackedModel::open(folder.file("toy.safetensors"));
  EXPECT_EQ(model.find_weight("head"), nullptr);
  EXPECT_TRUE(model.find_vector("head.bias").empty());
  EXPECT_THAT(error_of([&] { model.weight("head"); }),
              AllOf(HasSubstr("toy.safetensors"), HasSubstr("head")));
  EXPECT_THAT(error_of([&] { model.vector("head.bias"); }), HasSubstr("head.bias"));
}

TEST(PackedWriter, LeavesNothingBehindWithoutFinish) {
  const TempDir folder;
  {
    PackedWriter writer(folder.file("toy.safetensors"));
    writer.add_vector("final_norm", std::vector<float>(32, 1.0f));
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(PackedWriter, RefusesAModelThatIsNotWhatItsConfigCallsFor) {
  const PackedToy packed = make_packed_toy();
  for (const char* name : {"layers.1.mlp.up_proj", "layers.0.attn.q_proj.bias", "final_norm"}) {
    const TempDir folder;
    EXPECT_THAT(error_of([&] { write_packed(folder.file("toy.safetensors"), packed, name); }),
                AllOf(HasSubstr("toy.safetensors"), HasSubstr(name), HasSubstr("missing")));
    EXPECT_EQ(folder.entries(), 0u);
  }
}

TEST(PackedWriter, DoesNotOverwriteUnlessAsked) {
  const TempDir folder;
  const std::string path = folder.write("toy.safetensors", "precious");
  EXPECT_THAT(error_of([&] { PackedWriter writer(path); }), HasSubstr("toy.safetensors"));
  EXPECT_EQ(read_text_file(path), "precious");
  EXPECT_NO_THROW(PackedWriter(path, OutputFile::Existing::replace));
  EXPECT_EQ(read_text_file(path), "precious");
}

// The file as its parts, to write it again with one of them changed.
struct Parts {
  std::map<std::string, std::string> metadata;
  struct Part {
    DType dtype;
    Shape shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Part> tensors;
};

// Writes the parts under a valid header checksum and returns what opening says.
std::string open_error(const std::function<void(Parts&)>& spoil, bool fix_checksum = true) {
  const TempDir folder;
  write_packed(folder.file("good.safetensors"), make_packed_toy());
  const SafetensorsFile file(folder.file("good.safetensors"));
  Parts parts{file.metadata(), {}};
  for (const EncodedTensor& tensor : file.tensors())
    if (!tensor.name.starts_with("pad."))
      parts.tensors[tensor.name] = {
          plain_dtype(tensor.encoding), tensor.shape, {tensor.data, tensor.data + tensor.bytes}};
  spoil(parts);
  if (fix_checksum) {
    std::string text;
    for (const auto& [key, value] : parts.metadata)
      if (key != "checksum") text.append(key).append("\n").append(value).append("\n");
    parts.metadata["checksum"] = content_hash(text);
  }
  SafetensorsWriter writer(folder.file("bad.safetensors"));
  for (const auto& [name, part] : parts.tensors) writer.add(name, part.dtype, part.shape, part.bytes);
  writer.finish(parts.metadata);
  std::string message = error_of([&] { PackedModel::open(folder.file("bad.safetensors")); });
  EXPECT_THAT(message, HasSubstr("bad.safetensors"));
  return message;
}

void replace(std::string& text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  ASSERT_NE(at, text.npos) << from;
  text.replace(at, from.size(), to);
}

TEST(PackedModel, DamageIsDetected) {
  EXPECT_THAT(open_error([](Parts& p) { p.tensors["layers.1.mlp.up_proj"].bytes[100] ^= std::byte{1}; }),
              AllOf(HasSubstr("layers.1.mlp.up_proj"), HasSubstr("checksum")));
  EXPECT_THAT(open_error([](Parts& p) { p.tensors["final_norm"].bytes[3] ^= std::byte{1}; }),
              AllOf(HasSubstr("final_norm"), HasSubstr("checksum")));
  EXPECT_THAT(open_error([](Parts& p) { p.tensors["tokenizer"].bytes[3] ^= std::byte{1}; }),
              AllOf(HasSubstr("tokenizer"), HasSubstr("checksum")));
  EXPECT_THAT(open_error([](Parts& p) { replace(p.metadata["config"], "64", "65"); }, false),
              HasSubstr("checksum"));
  EXPECT_THAT(open_error([](Parts& p) { p.metadata["provenance"] = "{}"; }, false), HasSubstr("checksum"));
}

TEST(PackedModel, ATruncatedFileIsAnError) {
  const TempDir folder;
  write_packed(folder.file("toy.safetensors"), make_packed_toy());
  const std::string whole = read_text_file(folder.file("toy.safetensors"));
  for (const size_t size : {size_t(1), size_t(7), size_t(100), whole.size() / 2, whole.size() - 1}) {
    folder.write("cut.safetensors", whole.substr(0, size));
    EXPECT_THAT(error_of([&] { PackedModel::open(folder.file("cut.safetensors")); }),
                HasSubstr("cut.safetensors"))
        << size;
  }
}

TEST(PackedModel, ChecksumsCanBeSkippedButNotTheStructure) {
  const TempDir folder;
  const std::string path = folder.file("toy.safetensors");
  write_packed(path, make_packed_toy());
  std::string bytes = read_text_file(path);
  const SafetensorsFile file(path);
  const auto* panels = file.find("layers.0.mlp.up_proj");
  bytes[size_t(panels->data - file.file()->bytes().data())] ^= 1;
  folder.write("damaged.safetensors", bytes);
  EXPECT_THAT(error_of([&] { PackedModel::open(folder.file("damaged.safetensors")); }),
              HasSubstr("checksum"));
  EXPECT_NO_THROW(PackedModel::open(folder.file("damaged.safetensors"), {.verify_checksums = false}));
}

TEST(PackedModel, RefusesVersionsAndLayoutsItDoesNotKnow) {
  EXPECT_THAT(open_error([](Parts& p) { p.metadata["edgeq"] = "2"; }),
              AllOf(HasSubstr("version \"2\""), HasSubstr("version 1")));
  EXPECT_THAT(open_error([](Parts& p) { p.metadata["layout"] = "r32k8"; }), HasSubstr("r32k8"));
  EXPECT_THAT(open_error([](Parts& p) { p.metadata.erase("edgeq"); }), HasSubstr("not a packed model"));
  EXPECT_THAT(open_error([](Parts& p) { p.metadata.erase("weights"); }), HasSubstr("weights"));
}

TEST(PackedModel, EveryClaimOfTheHeaderIsChecked) {
  const auto weights = [](std::string_view from, std::string_view to) {
    return open_error([&](Parts& p) { replace(p.metadata["weights"], from, to); });
  };
  // The scheme of layers.0.attn.k_proj says another number of bits than its panels hold.
  EXPECT_THAT(weights("int8-channel-sym", "int4-channel-sym"), AllOf(HasSubstr("bytes"), HasSubstr("takes")));
  EXPECT_THAT(weights("int8-channel-sym", "int9-channel-sym"), HasSubstr("int9-channel-sym"));
  EXPECT_THAT(weights("\"rows\":16", "\"rows\":15"), AllOf(HasSubstr("[15, 32]"), HasSubstr("[16, 32]")));
  EXPECT_THAT(weights("\"cols\":32", "\"cols\":4611686018427387904"), HasSubstr("4611686018427387904"));
  EXPECT_THAT(weights("\"rows\":16", "\"rows\":-1"), HasSubstr("-1"));
  EXPECT_THAT(weights("\"rows\"", "\"rowz\""), HasSubstr("rows"));
  EXPECT_THAT(weights("F16", "I16"), HasSubstr("I16"));
  EXPECT_THAT(weights("{", "["), HasSubstr("damaged"));
}

TEST(PackedModel, HoldsExactlyWhatItsConfigCallsFor) {
  EXPECT_THAT(open_error([](Parts& p) { p.tensors.erase("layers.1.mlp.up_proj"); }), HasSubstr("weights"));
  EXPECT_THAT(open_error([](Parts& p) { p.tensors.erase("layers.1.attn_norm"); }),
              HasSubstr("layers.1.attn_norm is missing"));
  EXPECT_THAT(open_error([](Parts& p) { p.tensors.erase("tokenizer"); }), HasSubstr("tokenizer is missing"));
  EXPECT_THAT(open_error([](Parts& p) { replace(p.metadata["config"], "\"vocab\":40", "\"vocab\":41"); }),
              AllOf(HasSubstr("embedding"), HasSubstr("[41, 32]")));
  EXPECT_THAT(
      open_error([](Parts& p) {
        p.tensors["stranger"] = p.tensors["final_norm"];
        replace(p.metadata["hashes"], "{",
                "{\"stranger\":" +
                    p.metadata["hashes"].substr(p.metadata["hashes"].find("\"final_norm\":") + 13, 34) + ",");
      }),
      HasSubstr("vectors"));
}

TEST(PackedModel, AFileIsPackedUnlessItsNameOrItsFirstBytesSayGguf) {
  const TempDir dir;
  EXPECT_TRUE(is_packed_file(dir.write("model.packed", "12345678")));
  EXPECT_FALSE(is_packed_file(dir.write("model.gguf", "")));
  EXPECT_FALSE(is_packed_file(dir.write("model.bin", "GGUF")));
  EXPECT_TRUE(is_packed_file(dir.write("cut.bin", "GGU")));
  EXPECT_FALSE(is_packed_file(dir.path().string()));
  EXPECT_FALSE(is_packed_file(dir.file("missing")));
}

}  // namespace
}  // namespace edgeq
