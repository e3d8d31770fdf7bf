// SPDX-License-Identifier: Apache-2.0
#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/half.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string with_length(uint64_t length, std::string_view rest) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += char(length >> (8 * i));
  return file += rest;
}

std::string file_of(std::string_view header, size_t data_bytes) {
  return with_length(header.size(), header) + std::string(data_bytes, '\0');
}

SafetensorsFile parse(std::string_view content) {
  const auto bytes = std::as_bytes(std::span(content));
  return SafetensorsFile(MappedFile::from_bytes("m.safetensors", {bytes.begin(), bytes.end()}));
}

std::string refusal(std::string_view header, size_t data_bytes = 8) {
  return error_of([&] { parse(file_of(header, data_bytes)); });
}

TEST(Safetensors, ReadsEveryDtypeShapeAndMetadata) {
  const auto file = parse(file_of(R"({"__metadata__":{"format":"pt"},
    "b":{"dtype":"I64","shape":[1],"data_offsets":[12,20]},
    "a":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]},
    "none":{"dtype":"F16","shape":[0,4],"data_offsets":[20,20]},
    "scalar":{"dtype":"BF16","shape":[],"data_offsets":[20,22]}}  )",
                                  22));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.tensors()[0].name, "a");  // by offset
  EXPECT_EQ(file.find("a")->shape, (Shape{1, 3}));
  EXPECT_EQ(file.find("b")->encoding, Encoding::i64);
  EXPECT_EQ(file.find("none")->bytes, 0);
  EXPECT_EQ(file.find("scalar")->shape, Shape{});
  EXPECT_EQ(file.find("absent"), nullptr);
  EXPECT_EQ(decode_tensor(*file.find("none")).size(), 0);
}

TEST(Safetensors, DecodesEveryFloatTypeToTheSameValues) {
  const double values[] = {1.5, -0.25, 0, 3};
  std::string data;
  const auto put = [&data](auto value) { data.append(reinterpret_cast<const char*>(&value), sizeof value); };
  for (const double v : values) put(v);
  for (const double v : values) put(float(v));
  for (const double v : values) put(f32_to_f16(float(v)));
  for (const double v : values) put(f32_to_bf16(float(v)));
  const std::string_view header = R"({"d":{"dtype":"F64","shape":[2,2],"data_offsets":[0,32]},
    "f":{"dtype":"F32","shape":[2,2],"data_offsets":[32,48]},
    "h":{"dtype":"F16","shape":[2,2],"data_offsets":[48,56]},
    "b":{"dtype":"BF16","shape":[2,2],"data_offsets":[56,64]}})";
  const auto file = parse(with_length(header.size(), header) + data);
  for (const EncodedTensor& tensor : file.tensors()) {
    const Tensor decoded = decode_tensor(tensor);
    for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(decoded.f32()[i], float(values[i])) << tensor.name;
    Tensor row(DType::f32, {1, 2});
    decode_rows(tensor, 1, 1, row.matrix());
    EXPECT_EQ(row.f32()[1], 3) << tensor.name;
  }
}

TEST(Safetensors, RefusesToDecodeIntegers) {
  const auto file = parse(file_of(R"({"ids":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}})", 8));
  EXPECT_THAT(error_of([&] { decode_tensor(*file.find("ids")); }), AllOf(HasSubstr("ids"), HasSubstr("I32")));
}

TEST(Safetensors, RefusesATruncatedOrLyingHeader) {
  EXPECT_THAT(error_of([] { parse("1234"); }), HasSubstr("header length needs 8 bytes"));
  EXPECT_THAT(error_of([] { parse(with_length(100, "{}")); }),
              AllOf(HasSubstr("m.safetensors"), HasSubstr("header of 100 bytes; expected at most 2")));
  EXPECT_THAT(error_of([] { parse(with_length(~uint64_t(0), "{}")); }),
              HasSubstr("header of 18446744073709551615"));
  EXPECT_THAT(error_of([] { parse(file_of(R"({"w":{"dtype":"F3)", 0)); }), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{} x"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(refusal("null"), HasSubstr("expected an object"));
  EXPECT_THAT(refusal(std::string(100000, '[')), HasSubstr("expected an object"));
  EXPECT_THAT(refusal(R"({"a":)" + std::string(100000, '{')), testing::Not(testing::IsEmpty()));
}

TEST(Safetensors, TellsAGitLfsPointerFromWeights) {
  const TempDir dir;
  const std::string path =
      dir.write("m", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n");
  try {
    const SafetensorsFile file(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.hint(), HasSubstr("git lfs pull"));
  }
}

TEST(Safetensors, AnArchiveIsNotCalledADamagedFile) {
  const std::string archive = "\x89HDF\r\n\x1a\n" + std::string(100, '\x02');
  try {
    parse(archive);
    FAIL() << "expected an Error";
  } catch (const Error& error) {
    EXPECT_THAT(error.hint(), HasSubstr("edgeq convert FILE --to packed"));
  }
}

TEST(Safetensors, AMaskOfTruthValuesIsBytes) {
  const auto file = parse(file_of(R"({"mask":{"dtype":"BOOL","shape":[2,4],"data_offsets":[0,8]}})", 8));
  EXPECT_EQ(file.find("mask")->encoding, Encoding::u8);
}

TEST(Safetensors, RefusesFieldsThatAreNotTheFormats) {
  const auto tensor = [](std::string_view fields) { return "{\"w\":{" + std::string(fields) + "}}"; };
  EXPECT_THAT(refusal(tensor(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])")),
              AllOf(HasSubstr("\"w\""), HasSubstr("F8_E4M3"), HasSubstr("expected F32")));
  EXPECT_THAT(refusal(tensor(R"("dtype":1,"shape":[8],"data_offsets":[0,8])")), HasSubstr("the number 1"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","shape":[-8],"data_offsets":[0,8])")), HasSubstr("-8"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","shape":[8.5],"data_offsets":[0,8])")), HasSubstr("8.5"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,8])")),
              HasSubstr("99999999999999999999"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","shape":[[8]],"data_offsets":[0,8])")), HasSubstr("an array"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","shape":[{}],"data_offsets":[0,8])")), HasSubstr("an object"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[0,8])")),
              HasSubstr("dimensions"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","shape":[8],"data_offsets":[0])")), HasSubstr("too few"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","shape":[8],"data_offsets":[0,8,9])")),
              HasSubstr("more than two"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","data_offsets":[0,8])")), HasSubstr("too few"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","dtype":"I8","shape":[8],"data_offsets":[0,8])")),
              HasSubstr("dtype"));
  EXPECT_THAT(refusal(tensor(R"("dtype":"U8","shape":[8],"data_offsets":[0,8],"more":1)")),
              HasSubstr("more"));
  EXPECT_THAT(refusal(R"({"__metadata__":{"n":1}})", 0), HasSubstr("the number 1"));
  EXPECT_THAT(refusal(R"({"w":7})"), HasSubstr("\"w\" has the number 7"));
}

TEST(Safetensors, RefusesTensorsThatDoNotTileTheData) {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[)" + a +
           R"(]},"b":{"dtype":"U8","shape":[4],"data_offsets":[)" + b + "]}}";
  };
  EXPECT_THAT(refusal(two("0,4", "5,9"), 9),
              AllOf(HasSubstr("tensor b"), HasSubstr("[5, 9]"), HasSubstr("begin at 4")));
  EXPECT_THAT(refusal(two("0,4", "3,7"), 7), HasSubstr("begin at 4"));  // overlap
  EXPECT_THAT(refusal(two("0,4", "0,4"), 4), HasSubstr("begin at 4"));
  EXPECT_THAT(refusal(two("0,4", "4,8"), 7), HasSubstr("end within 7"));
  EXPECT_THAT(refusal(two("0,4", "4,8"), 9), HasSubstr("end at byte 8 of 9"));
  EXPECT_THAT(refusal(two("0,4", "18446744073709551612,0"), 8), HasSubstr("data_offsets"));
  EXPECT_THAT(refusal(two("0,4", "4,0"), 4), HasSubstr("data_offsets"));
}

TEST(Safetensors, RefusesSizesThatContradictTheShape) {
  EXPECT_THAT(refusal(R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})"),
              AllOf(HasSubstr("tensor w"), HasSubstr("F32 [3]"), HasSubstr("8 bytes")));
  // 2^32 x 2^32 elements: the product wraps to 0 in 64 bits.
  EXPECT_THAT(refusal(R"({"w":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
              AllOf(HasSubstr("tensor w"), HasSubstr("too large")));
  // 2^61 x 8 bytes: the bytes wrap.
  EXPECT_THAT(refusal(R"({"w":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0),
              HasSubstr("tensor w"));
}

TEST(Safetensors, RefusesANameThatComesTwice) {
  EXPECT_THAT(refusal(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                          "w":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})"),
              HasSubstr("\"w\" is listed twice"));
}

struct Shards {
  TempDir dir;
  explicit Shards(std::string_view weight_map) {
    dir.write("one.safetensors", file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
    dir.write("two.safetensors", file_of(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2));
    dir.write("model.safetensors.index.json",
              "{\"metadata\":{\"total_size\":6},\"weight_map\":{" + std::string(weight_map) + "}}");
  }
  std::string refusal() const {
    return error_of([&] { SafetensorsFolder{dir.path().string()}; });
  }
};

TEST(Safetensors, ReadsAShardedFolder) {
  const Shards shards(R"("a":"one.safetensors","b":"two.safetensors")");
  const SafetensorsFolder folder(shards.dir.path().string());
  ASSERT_EQ(folder.tensors().size(), 2u);
  EXPECT_EQ(folder.find("b")->shape, Shape{2});
  EXPECT_EQ(folder.find("c"), nullptr);
}

TEST(Safetensors, RefusesShardsThatContradictTheIndex) {
  EXPECT_THAT(Shards(R"("a":"one.safetensors","b":"three.safetensors")").refusal(),
              AllOf(HasSubstr("index.json"), HasSubstr("three.safetensors"), HasSubstr("No such file")));
  EXPECT_THAT(Shards(R"("a":"one.safetensors","b":"one.safetensors")").refusal(),
              AllOf(HasSubstr("tensor b"), HasSubstr("one.safetensors")));
  EXPECT_THAT(Shards(R"("a":"two.safetensors","b":"one.safetensors")").refusal(),
              HasSubstr("the index says"));
  EXPECT_THAT(Shards(R"("b":"two.safetensors","c":"two.safetensors")").refusal(), HasSubstr("tensor c"));
  EXPECT_THAT(Shards(R"("a":"../one.safetensors","b":"two.safetensors")").refusal(),
              HasSubstr("not a plain file name"));
  EXPECT_THAT(Shards(R"("a":5)").refusal(), HasSubstr("not a text"));
  EXPECT_THAT(Shards("").refusal(), HasSubstr("weight_map"));
}

TEST(Safetensors, RefusesAnIndexThatIsNotOne) {
  EXPECT_THAT(error_of([] { parse_safetensors_index("{"); }), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of([] { parse_safetensors_index("[]"); }), HasSubstr("weight_map"));
  EXPECT_THAT(error_of([] { parse_safetensors_index(std::string(100000, '[')); }), HasSubstr("too deeply"));
  EXPECT_THAT(error_of([] { parse_safetensors_index(R"({"weight_map":{"a":1e999}})"); }),
              HasSubstr("out of range"));
}

TEST(Safetensors, SaysWhatAFolderWithoutWeightsLacks) {
  const TempDir dir;
  EXPECT_THAT(error_of([&] { SafetensorsFolder{dir.path().string()}; }),
              HasSubstr("neither model.safetensors"));
  dir.write("pytorch_model.bin", "x");
  try {
    const SafetensorsFolder folder(dir.path().string());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.hint(), HasSubstr("safe_serialization"));
  }
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(SafetensorsWriter, WritesAlignedTensorsThatReadBack) {
  for (const int64_t room :
       {int64_t(0), int64_t(64), SafetensorsWriter::kHeaderRoom}) {  // moved and in place
    const TempDir dir;
    SafetensorsWriter writer(dir.file("m"), OutputFile::Existing::refuse, room);
    writer.add("odd", DType::u8, {5}, bytes_of("hello"));
    writer.begin("pieces", DType::f16, {2, 2});
    writer.append(bytes_of("abcd"));
    writer.append(bytes_of("efgh"));
    writer.add("whole", DType::u8, {2, 32}, bytes_of(std::string(64, 'w')));
    writer.add("last", DType::u8, {1}, bytes_of("z"));
    const int64_t bytes = writer.finish({{"format", "pt"}, {"quote", "\"\n\xff"}});
    const SafetensorsFile file(dir.file("m"));
    EXPECT_EQ(file.file()->size(), bytes);
    EXPECT_EQ(file.metadata().at("format"), "pt");
    EXPECT_EQ(file.tensors().size(), 6u);  // two of them padding
    for (const EncodedTensor& tensor : file.tensors()) {
      if (tensor.name.starts_with("pad.")) continue;
      EXPECT_EQ((tensor.data - file.file()->bytes().data()) % 64, 0) << tensor.name;
    }
    EXPECT_EQ(std::memcmp(file.find("odd")->data, "hello", 5), 0);
    EXPECT_EQ(std::memcmp(file.find("pieces")->data, "abcdefgh", 8), 0);
    EXPECT_EQ(file.find("pieces")->shape, (Shape{2, 2}));
    EXPECT_EQ(std::memcmp(file.find("last")->data, "z", 1), 0);
    EXPECT_EQ(dir.entries(), 1u);
  }
}

TEST(SafetensorsWriter, LeavesNothingWhenItIsNotFinished) {
  const TempDir dir;
  {
    SafetensorsWriter writer(dir.file("m"));
    writer.add("w", DType::u8, {5}, bytes_of("hello"));
  }
  EXPECT_EQ(dir.entries(), 0u);
}

}  // namespace
}  // namespace edgeq
