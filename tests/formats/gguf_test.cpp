// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// Builds a file number by number, so that each may lie.
class Bytes {
 public:
  template <class T>
  Bytes& put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& raw(std::string_view text) {
    text_ += text;
    return *this;
  }
  Bytes& str(std::string_view text) { return put(uint64_t(text.size())).raw(text); }
  Bytes& head(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
    return raw("GGUF").put(version).put(tensors).put(pairs);
  }
  Bytes& key(std::string_view name, GgufType type) { return str(name).put(uint32_t(type)); }
  Bytes& array(std::string_view name, GgufType item, uint64_t count) {
    return key(name, GgufType::array).put(uint32_t(item)).put(count);
  }
  // dims innermost first, as the file has them.
  Bytes& tensor(std::string_view name, std::initializer_list<uint64_t> dims, uint32_t type, uint64_t offset) {
    str(name).put(uint32_t(dims.size()));
    for (const uint64_t dim : dims) put(dim);
    return put(type).put(offset);
  }
  Bytes& align(size_t alignment = 32) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  Bytes& zeros(size_t count) { return raw(std::string(count, '\0')); }

  GgufFile open() const {
    const auto bytes = std::as_bytes(std::span(text_));
    return GgufFile(MappedFile::from_bytes("m.gguf", {bytes.begin(), bytes.end()}));
  }
  std::string refusal() const {
    return error_of([this] { open(); });
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

TEST(Gguf, ReadsMetadataOfEveryType) {
  Bytes bytes;
  bytes.head(0, 14, 2).key("u8", GgufType::u8).put(uint8_t(200)).key("i8", GgufType::i8).put(int8_t(-2));
  bytes.key("u16", GgufType::u16).put(uint16_t(60000)).key("i16", GgufType::i16).put(int16_t(-3));
  bytes.key("u32", GgufType::u32).put(uint32_t(4000000000)).key("i32", GgufType::i32).put(int32_t(-4));
  bytes.key("u64", GgufType::u64).put(uint64_t(5)).key("i64", GgufType::i64).put(int64_t(-5));
  bytes.key("f32", GgufType::f32).put(0.5f).key("f64", GgufType::f64).put(0.25);
  bytes.key("yes", GgufType::boolean).put(uint8_t(1)).key("text", GgufType::string).str("words");
  bytes.array("names", GgufType::string, 3).str("a").str("").str("ccc");
  bytes.array("scores", GgufType::f32, 2).put(1.0f).put(-1.0f);
  const GgufFile file = bytes.open();
  EXPECT_EQ(file.version(), 2u);
  EXPECT_EQ(file.get_int("u8"), 200);
  EXPECT_EQ(file.get_int("i8"), -2);
  EXPECT_EQ(file.get_int("u16"), 60000);
  EXPECT_EQ(file.get_int("i16"), -3);
  EXPECT_EQ(file.get_int("u32"), 4000000000);
  EXPECT_EQ(file.get_int("i32"), -4);
  EXPECT_EQ(file.get_int("u64"), 5);
  EXPECT_EQ(file.get_int("i64"), -5);
  EXPECT_EQ(file.get_float("f32"), 0.5);
  EXPECT_EQ(file.get_float("f64"), 0.25);
  EXPECT_TRUE(file.get_bool("yes"));
  EXPECT_EQ(file.get_string("text"), "words");
  EXPECT_THAT(file.get_strings("names"), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(file.get_floats("scores"), ElementsAre(1.0f, -1.0f));
  EXPECT_TRUE(file.is_array("scores"));
  EXPECT_FALSE(file.is_array("text"));
  EXPECT_EQ(file.keys().size(), 14u);
  EXPECT_EQ(file.keys()[1], "i8");
}

TEST(Gguf, SaysWhichKeyIsAbsentOrOfAnotherType) {
  Bytes bytes;
  bytes.head(0, 4).key("n", GgufType::u32).put(uint32_t(1)).key("s", GgufType::string).str("x");
  bytes.array("a", GgufType::boolean, 2).put(uint8_t(0)).put(uint8_t(1));
  bytes.key("big", GgufType::u64).put(std::numeric_limits<uint64_t>::max());
  const GgufFile file = bytes.open();
  EXPECT_EQ(file.find_int("absent"), std::nullopt);
  EXPECT_THAT(file.get_ints("a"), ElementsAre(0, 1));
  EXPECT_THAT(error_of([&] { file.get_int("absent"); }),
              AllOf(HasSubstr("m.gguf"), HasSubstr("absent is missing")));
  EXPECT_THAT(error_of([&] { file.get_int("s"); }), HasSubstr("key s is string; expected an integer"));
  EXPECT_THAT(error_of([&] { file.get_string("n"); }), HasSubstr("key n is u32; expected a string"));
  EXPECT_THAT(error_of([&] { file.find_float("n"); }), HasSubstr("expected a float"));
  EXPECT_THAT(error_of([&] { file.find_bool("n"); }), HasSubstr("expected a bool"));
  EXPECT_THAT(error_of([&] { file.get_int("a"); }),
              HasSubstr("key a is an array of bool; expected an integer"));
  EXPECT_THAT(error_of([&] { file.get_ints("n"); }), HasSubstr("expected an array of integers"));
  EXPECT_THAT(error_of([&] { file.get_strings("a"); }), HasSubstr("expected an array of strings"));
  EXPECT_THAT(error_of([&] { file.get_floats("a"); }), HasSubstr("expected an array of floats"));
  EXPECT_THAT(error_of([&] { file.get_int("big"); }), HasSubstr("18446744073709551615"));
}

TEST(Gguf, ReadsTensorsOutermostFirst) {
  Bytes bytes;
  bytes.head(2, 1).key("general.alignment", GgufType::u32).put(uint32_t(64));
  bytes.tensor("w", {64, 3}, 2, 0)
      .tensor("v", {5}, 0, 128)
      .align(64)
      .zeros(128)
      .put(1.0f)
      .put(2.0f)
      .zeros(12);
  const GgufFile file = bytes.open();
  const EncodedTensor& w = *file.find("w");
  EXPECT_EQ(w.shape, (Shape{3, 64}));
  EXPECT_EQ(w.encoding, Encoding::q4_0);
  EXPECT_EQ(w.bytes, 3 * 2 * 18);
  EXPECT_EQ(decode_tensor(*file.find("v")).f32()[1], 2);
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST(Gguf, RefusesWhatIsNotGguf) {
  EXPECT_THAT(Bytes().raw("GG").refusal(), HasSubstr("magic needs 4 bytes"));
  EXPECT_THAT(Bytes().raw("PK\3\4 a zip file").refusal(), HasSubstr("not a GGUF file"));
  EXPECT_THAT(Bytes().head(0, 0, 1).refusal(), HasSubstr("version 1; expected 2 or 3"));
  EXPECT_THAT(Bytes().head(0, 0, 0x03000000).refusal(), HasSubstr("big-endian"));
  EXPECT_THAT(Bytes().raw("GGUF").put(uint32_t(3)).refusal(), HasSubstr("tensor count needs 8 bytes"));
}

TEST(Gguf, RefusesCountsThatTheFileCannotHold) {
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  EXPECT_THAT(Bytes().head(0, kHuge).refusal(), HasSubstr("18446744073709551615 metadata values do not fit"));
  EXPECT_THAT(Bytes().head(kHuge, 0).refusal(), HasSubstr("tensors do not fit"));
  EXPECT_THAT(Bytes().head(0, 1).put(kHuge).zeros(32).refusal(), HasSubstr("metadata key needs"));
  EXPECT_THAT(Bytes().head(0, 1).key("s", GgufType::string).put(kHuge - 7).refusal(), HasSubstr("s needs"));
  EXPECT_THAT(Bytes().head(0, 1).array("a", GgufType::f64, kHuge / 8 + 2).zeros(16).refusal(),
              HasSubstr("items of a do not fit"));
  EXPECT_THAT(Bytes().head(0, 1).array("a", GgufType::string, 2).zeros(8).put(uint64_t(9)).refusal(),
              HasSubstr("a needs 9 bytes"));
}

TEST(Gguf, RefusesMetadataThatTheFormatLacks) {
  EXPECT_THAT(Bytes().head(0, 1).str("k").put(uint32_t(13)).zeros(8).refusal(),
              HasSubstr("key k has type 13"));
  EXPECT_THAT(Bytes().head(0, 1).array("k", GgufType::array, 1).zeros(16).refusal(),
              HasSubstr("array of arrays"));
  Bytes twice;
  twice.head(0, 2).key("k", GgufType::u8).put(uint8_t(1)).key("k", GgufType::u8).put(uint8_t(2));
  EXPECT_THAT(twice.refusal(), HasSubstr("key k is there twice"));
  for (const uint32_t alignment : {0u, 3u, 1u << 31})
    EXPECT_THAT(Bytes().head(0, 1).key("general.alignment", GgufType::u32).put(alignment).refusal(),
                HasSubstr("power of two"));
}

TEST(Gguf, RefusesAnAbsurdShape) {
  constexpr uint64_t kHuge = uint64_t(1) << 63;
  const auto refusal = [](std::initializer_list<uint64_t> dims, uint32_t type) {
    return Bytes().head(1, 0).tensor("w", dims, type, 0).align().zeros(64).refusal();
  };
  EXPECT_THAT(refusal({2, 2, 2, 2, 2}, 0), HasSubstr("tensor w has 5 dimensions"));
  EXPECT_THAT(refusal({kHuge}, 0), AllOf(HasSubstr("tensor w"), HasSubstr("negative or too large")));
  EXPECT_THAT(refusal({uint64_t(1) << 32, uint64_t(1) << 32}, 0), HasSubstr("too large"));
  EXPECT_THAT(refusal({uint64_t(1) << 61}, 0), HasSubstr("tensor w"));  // 2^63 bytes
  EXPECT_THAT(refusal({uint64_t(1) << 40, 0}, 0), HasSubstr("has no elements"));
  EXPECT_THAT(refusal({48}, 2), HasSubstr("48 columns of Q4_0; expected a multiple of 32"));
  EXPECT_THAT(refusal({128, 2}, 12), HasSubstr("multiple of 256"));
  EXPECT_THAT(refusal({32}, 10), HasSubstr("ggml type 10 (Q2_K)"));
  EXPECT_THAT(refusal({32}, 4711), HasSubstr("ggml type 4711 (unknown)"));
}

TEST(Gguf, RefusesATensorPastTheEndOfTheFile) {
  EXPECT_THAT(Bytes().head(1, 0).tensor("w", {32}, 0, 0).align().zeros(127).refusal(),
              AllOf(HasSubstr("tensor w needs 128 bytes"), HasSubstr("the file has")));
  EXPECT_NO_THROW(Bytes().head(1, 0).tensor("w", {32}, 0, 0).align().zeros(128).open());
}

TEST(Gguf, RefusesTensorsThatOverlapOrLeaveHoles) {
  const auto refusal = [](uint64_t offset) {
    return Bytes().head(2, 0).tensor("a", {8}, 0, 0).tensor("b", {8}, 0, offset).align().zeros(256).refusal();
  };
  EXPECT_THAT(refusal(0), HasSubstr("tensor b has offset 0; expected 32"));
  EXPECT_THAT(refusal(64), HasSubstr("tensor b has offset 64; expected 32"));
  EXPECT_THAT(refusal(std::numeric_limits<uint64_t>::max() - 31), HasSubstr("tensor b has offset"));
  EXPECT_THAT(Bytes().head(2, 0).tensor("a", {8}, 0, 0).tensor("a", {8}, 0, 32).align().zeros(64).refusal(),
              HasSubstr("tensor a is listed twice"));
}

TEST(Gguf, RefusesEveryTruncationOfAValidFile) {
  Bytes whole;
  whole.head(1, 2).key("n", GgufType::u32).put(uint32_t(1));
  whole.array("names", GgufType::string, 2).str("ab").str("c").tensor("w", {32, 2}, 8, 0).align().zeros(68);
  EXPECT_NO_THROW(whole.open());
  for (size_t length = 0; length < whole.text().size(); ++length)
    EXPECT_THAT(Bytes().raw(std::string_view(whole.text()).substr(0, length)).refusal(), HasSubstr("m.gguf"));
}

TEST(GgufWriter, WritesWhatTheReaderReads) {
  const TempDir dir;
  const std::string path = dir.file("m.gguf");
  GgufWriter writer(path);
  writer.set("general.architecture", "llama");
  writer.set("u32", uint32_t(7));
  writer.set("i32", int32_t(-7));
  writer.set("u64", uint64_t(1) << 40);
  writer.set("f32", 0.5f);
  writer.set("flag", true);
  writer.set("tokens", std::vector<std::string>{"<s>", "", "\xff"});
  writer.set("scores", std::vector<float>{-1, 2});
  writer.set("types", std::vector<int32_t>{1, -3});
  writer.declare("w", Encoding::q4_0, {3, 32});
  writer.declare("v", Encoding::f32, {5});
  writer.declare("last", Encoding::f16, {1, 1, 2, 1});
  std::vector<std::byte> w(54);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::byte(i);
  const float v[] = {1, 2, 3, 4, 5};
  writer.write(w);
  writer.write(std::as_bytes(std::span(v)));
  writer.write(std::vector<std::byte>(4, std::byte(9)));
  const int64_t bytes = writer.finish();

  const GgufFile file(path);
  EXPECT_EQ(file.file()->size(), bytes);
  EXPECT_EQ(bytes % 32, 0);
  EXPECT_EQ(file.get_string("general.architecture"), "llama");
  EXPECT_EQ(file.get_int("u32"), 7);
  EXPECT_EQ(file.get_int("i32"), -7);
  EXPECT_EQ(file.get_int("u64"), int64_t(1) << 40);
  EXPECT_EQ(file.get_float("f32"), 0.5);
  EXPECT_TRUE(file.get_bool("flag"));
  EXPECT_THAT(file.get_strings("tokens"), ElementsAre("<s>", "", "\xff"));
  EXPECT_THAT(file.get_floats("scores"), ElementsAre(-1.0f, 2.0f));
  EXPECT_THAT(file.get_ints("types"), ElementsAre(1, -3));
  EXPECT_EQ(file.find("w")->shape, (Shape{3, 32}));
  EXPECT_EQ(std::memcmp(file.find("w")->data, w.data(), w.size()), 0);
  EXPECT_EQ(decode_tensor(*file.find("v")).f32()[4], 5);
  EXPECT_EQ(file.find("last")->shape, (Shape{1, 1, 2, 1}));
  for (const EncodedTensor& tensor : file.tensors())
    EXPECT_EQ((tensor.data - file.file()->bytes().data()) % 32, 0) << tensor.name;
}

TEST(GgufWriter, RefusesWhatTheFormatCannotHold) {
  const TempDir dir;
  GgufWriter writer(dir.file("m.gguf"));
  EXPECT_THAT(error_of([&] { writer.declare("w", Encoding::q4_0, {2, 48}); }), HasSubstr("48 columns"));
  EXPECT_THAT(error_of([&] { writer.declare(std::string(64, 'n'), Encoding::f32, {2}); }),
              HasSubstr("allows 63"));
  EXPECT_THAT(error_of([&] { writer.declare("bytes", Encoding::u8, {2}); }), HasSubstr("U8"));
}

}  // namespace
}  // namespace edgeq
