// SPDX-License-Identifier: Apache-2.0
#include "models/export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "models/import.h"
#include "models/tokenizer.h"
#include "models/tokenizer_text.h"
#include "tests/models/toy_checkpoint.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kTinyModel = EDGEQ_SOURCE_DIR "/configs/models/tiny-llama";

ModelConfig exportable_config(const std::string& family) {
  ModelConfig config = toy_config(family);
  config.hidden = 64;
  config.vocab = 1540;  // four more than the tokenizer has
  config.layers.assign(2, {.heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 64});
  config.layers[1].ffn = 128;
  config.tied_head = family != "llama";
  config.qkv_bias = true;
  config.o_bias = config.mlp_bias = family == "llama";
  config.norm_epsilon = 1e-5f;
  return config;
}

// A packed file with the tiny model's tokenizer, and what its weights dequantize to.
struct PackedFile {
  TempDir folder;
  std::string path = folder.file("toy.safetensors");
  std::map<std::string, Tensor> expected;
};

void write_packed(PackedFile& file, const ModelConfig& config, const std::vector<std::string>& schemes) {
  const ToyModel toy = make_toy(config);
  PackedWriter writer(file.path);
  size_t at = 0;
  for (const SiteShape& site : all_sites(config)) {
    const std::string& scheme = schemes[at++ % schemes.size()];
    if (const auto dtype = parse_dtype(scheme)) {
      writer.add(site.name, from_f32(toy.tensors.at(site.name), *dtype));
      file.expected.emplace(site.name, toy.tensors.at(site.name));
      continue;
    }
    const QuantizedTensor codes = random_codes(parse_scheme(scheme), site.rows, site.cols, at);
    writer.add(site.name, codes);
    Tensor weight(DType::f32, {site.rows, site.cols});
    dequantize_into(codes, weight.matrix());
    file.expected.emplace(site.name, std::move(weight));
  }
  for (const VectorShape& vector : all_vectors(config)) {
    const Tensor& values = toy.tensors.at(vector.name);
    writer.add_vector(vector.name, {values.f32(), size_t(values.size())});
    file.expected.emplace(vector.name, values);
  }
  writer.finish(config, Tokenizer::from_folder(kTinyModel).serialize(), R"({"recipe": "test"})");
}

TEST(GgufExport, ComesBackValueForValueInEveryFamilyAndType) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    const ModelConfig config = exportable_config(family);
    PackedFile packed;
    write_packed(packed, config,
                 {"q8_0", "q4_0", "int4-g64-sym", "q4_1", "F16", "BF16", "int8-channel-sym-f16", "F32"});
    const std::string path = packed.folder.file("toy.gguf");
    const int64_t bytes = export_gguf(*coded_model(PackedModel::open(packed.path)), path);
    EXPECT_EQ(bytes, int64_t(std::filesystem::file_size(path)));
    const auto checkpoint = open_checkpoint(path);
    EXPECT_EQ(checkpoint->config(), config);
    EXPECT_EQ(checkpoint->encoding("layers.0.attn.q_proj"), "Q4_0");
    EXPECT_EQ(checkpoint->encoding("layers.0.attn.k_proj"), "Q4_0");
    for (const auto& [name, weight] : packed.expected) {
      const Tensor loaded = checkpoint->load(name);
      const std::span found(loaded.f32(), size_t(loaded.size())), wanted(weight.f32(), size_t(weight.size()));
      EXPECT_TRUE(std::ranges::equal(found, wanted)) << family << " " << name;  // 0 may come back as -0
    }
  }
}

// Rows of 256 hold a super-block; q and k rows move with all their scales, of two levels or one.
TEST(GgufExport, EveryBlockTypeComesBackValueForValue) {
  ModelConfig config = exportable_config("llama");
  config.hidden = 256;
  for (LayerShape& layer : config.layers) layer = {.heads = 4, .kv_heads = 4, .head_dim = 64, .ffn = 256};
  for (const std::vector<std::string>& schemes : {std::vector<std::string>{"q4_k", "q5_k", "q6_k", "iq4_nl"},
                                                  {"iq4_nl", "q6_k", "q5_0", "q5_1", "q4_k"},
                                                  {"q5_1", "iq4nl-g64", "int5-g64-sym", "q5_k"}}) {
    PackedFile packed;
    write_packed(packed, config, schemes);
    const std::string path = packed.folder.file("toy.gguf");
    export_gguf(*coded_model(PackedModel::open(packed.path)), path);
    const auto checkpoint = open_checkpoint(path);
    for (const auto& [name, expected] : packed.expected) {
      const Tensor found = checkpoint->load(name);
      ASSERT_EQ(found.shape(), expected.shape()) << name;
      ASSERT_EQ(std::memcmp(found.data(), expected.data(), size_t(expected.bytes())), 0) << name;
    }
  }
}

TEST(GgufExport, TheTokenizerGivesTheSameIds) {
  PackedFile packed;
  write_packed(packed, exportable_config("llama"), {"q4_0"});
  const std::string path = packed.folder.file("toy.gguf");
  export_gguf(*coded_model(PackedModel::open(packed.path)), path);
  const Tokenizer original = Tokenizer::from_folder(kTinyModel);
  const Tokenizer exported = open_checkpoint(path)->tokenizer();
  const std::string text =
      read_text_file(kTinyModel + "/heldout.txt").substr(0, 5000) + " 12 \xf0\x9f\x98\x80\n\n\tx";
  EXPECT_EQ(exported.encode(text), original.encode(text));
  EXPECT_EQ(exported.vocab_size(), 1540);
  EXPECT_EQ(exported.bos(), original.bos());
  EXPECT_EQ(exported.end_tokens(), original.end_tokens());
  EXPECT_EQ(exported.adds_bos(), original.adds_bos());
}

TEST(GgufExport, RopeScalingAndWindowsArriveAsLlamaCppReadsThem) {
  const auto exported = [](const ModelConfig& config) {
    PackedFile packed;
    write_packed(packed, config, {"q4_0"});
    export_gguf(*coded_model(PackedModel::open(packed.path)), packed.folder.file("toy.gguf"));
    return open_checkpoint(packed.folder.file("toy.gguf"))->config();
  };
  ModelConfig linear = exportable_config("qwen2");
  linear.rope_divisors.assign(8, 4.0f);
  EXPECT_EQ(exported(linear), linear);
  ModelConfig divided = exportable_config("llama");
  divided.rope_divisors = {1, 1, 1, 1.5f, 2, 4, 8, 8};
  EXPECT_EQ(exported(divided), divided);
  ModelConfig sliding = exportable_config("llama");
  sliding.layers[1].window = 24;
  ModelConfig cut = sliding;
  cut.context = 24;
  cut.layers[1].window = 0;
  EXPECT_EQ(exported(sliding), cut);
}

TEST(GgufExport, RefusesWhatGgufCannotHold) {
  const auto refusal = [](const ModelConfig& config, const std::string& scheme) {
    PackedFile packed;
    write_packed(packed, config, {"q8_0", scheme});
    std::string message = error_of(
        [&] { export_gguf(*coded_model(PackedModel::open(packed.path)), packed.folder.file("toy.gguf")); });
    EXPECT_EQ(packed.folder.entries(), 1u) << "something was left behind";
    EXPECT_THAT(message, HasSubstr("toy.gguf"));
    return message;
  };
  const ModelConfig config = exportable_config("llama");
  for (const char* scheme :
       {"int4-g32-asym", "int3-g32-sym", "int4-g64-sym-f32", "int8-channel-sym", "int8-g32-offset"})
    EXPECT_THAT(refusal(config, scheme), AllOf(HasSubstr("layers.0.attn.q_proj is"), HasSubstr(scheme)));
  ModelConfig divided = exportable_config("qwen2");
  divided.rope_divisors = {1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_THAT(refusal(divided, "q4_0"), HasSubstr("rope divisors"));
  ModelConfig biased = exportable_config("qwen3");
  biased.o_bias = true;
  EXPECT_THAT(refusal(biased, "q4_0"), HasSubstr("biases on o_proj"));
  ModelConfig small = exportable_config("llama");
  small.vocab = 1500;
  EXPECT_THAT(refusal(small, "q4_0"), AllOf(HasSubstr("1536 tokens"), HasSubstr("1500 rows")));
}

// A tokenizer.json of the Llama-2 kind: ranked merges, byte tokens, spaces as U+2581.
TokenizerData llama2_kind(const std::vector<std::pair<std::string, std::string>>& merges) {
  TokenizerData data;
  std::map<std::string, TokenId> ids;
  const auto add = [&](const std::string& text, TokenType type) {
    if (!ids.emplace(text, TokenId(data.tokens.size())).second) return;
    data.tokens.push_back(text);
    data.types.push_back(type);
  };
  add("<unk>", TokenType::unknown);
  for (int byte = 0; byte < 256; ++byte) add(fallback_token(uint8_t(byte)), TokenType::byte);
  for (const char* letter : {"a", "b", "c"}) add(letter, TokenType::normal);
  add(std::string(kMetaSpace), TokenType::normal);
  for (const auto& [left, right] : merges) add(left + right, TokenType::normal);
  for (const auto& [left, right] : merges) data.merges.push_back({ids.at(left), ids.at(right)});
  NormalizeStep prepend, replace;
  prepend.kind = NormalizeStep::Kind::prepend;
  prepend.content = kMetaSpace;
  replace.kind = NormalizeStep::Kind::replace;
  replace.pattern.text = " ";
  replace.content = kMetaSpace;
  data.normalize = {prepend, replace};
  data.unknown = 0;
  data.byte_fallback = data.fuse_unknown = data.decode.byte_fallback = true;
  data.decode.replacements.push_back({std::string(kMetaSpace), " "});
  data.decode.strip_leading_spaces = 1;
  return data;
}

std::string tokenizer_file(const TempDir& folder, const TokenizerData& data) {
  std::string path = folder.file("tokenizer.gguf");
  GgufWriter writer(path);
  set_gguf_tokenizer(writer, data, std::ssize(data.tokens));
  writer.finish();
  return path;
}

TEST(GgufExport, RankedMergesBecomeScoresThatMergeAlike) {
  const std::string space(kMetaSpace);
  const TokenizerData data = llama2_kind({{"a", "b"},
                                          {"b", "c"},
                                          {space, "a"},
                                          {"ab", "c"},
                                          {"a", "bc"},
                                          {space + "a", "bc"},
                                          {space, "abc"},
                                          {"c", "c"}});
  const TempDir folder;
  const Tokenizer original = Tokenizer::deserialize(serialize_tokenizer(data));
  // "▁a" + "bc" and "▁" + "abc" both make "▁abc"; "▁a" + "b" would make no token.
  const Tokenizer exported = Tokenizer::from_gguf(GgufFile(tokenizer_file(folder, data)));
  for (const char* text : {"abc", "abcabc abc", "bcab ccc", " a  b", "x\xc3\xa9 abz", ""})
    EXPECT_EQ(exported.encode(text), original.encode(text)) << text;
}

// As in Llama-2's own tokenizer.json, where the merges of runs of spaces stand by the length of the left
// part.
TEST(GgufExport, RunsOfSpacesMayShareAScore) {
  const std::string one(kMetaSpace), two = one + one, three = two + one;
  const TokenizerData data = llama2_kind(
      {{"a", "b"}, {three, one}, {two, two}, {two, one}, {one, three}, {one, two}, {one, one}, {"b", "a"}});
  const TempDir folder;
  const Tokenizer original = Tokenizer::deserialize(serialize_tokenizer(data));
  const Tokenizer exported = Tokenizer::from_gguf(GgufFile(tokenizer_file(folder, data)));
  for (size_t spaces = 0; spaces < 20; ++spaces) {
    const std::string text = "ab" + std::string(spaces, ' ') + "aba";
    EXPECT_EQ(exported.encode(text), original.encode(text)) << spaces;
  }
}

// As in Gemma's tokenizer.json, whose normalizer leaves no space to cut at.
TEST(GgufExport, ACutAtSpacesIsIdleWhereNoneAreLeft) {
  TokenizerData data = llama2_kind({{"a", "b"}, {std::string(kMetaSpace), "a"}});
  data.normalize.erase(data.normalize.begin());  // no space in front
  data.decode.strip_leading_spaces = 0;
  data.pre_tokenize = {split_step(" ", SplitBehavior::merged_with_previous)};
  data.pre_tokenize[0].pattern.is_regex = false;
  const TempDir folder;
  const Tokenizer original = Tokenizer::deserialize(serialize_tokenizer(data));
  const Tokenizer exported = Tokenizer::from_gguf(GgufFile(tokenizer_file(folder, data)));
  for (const char* text : {"ab ab", " a  b", ""})
    EXPECT_EQ(exported.encode(text), original.encode(text)) << text;
  data.normalize.clear();
  EXPECT_THAT(error_of([&] { tokenizer_file(TempDir(), data); }), HasSubstr("pre-tokenizer"));
}

TEST(GgufExport, NotesWhereLlamaCppPutsASpaceThatTheTokenizerDoesNot) {
  TokenizerData data = llama2_kind({{"a", "b"}, {std::string(kMetaSpace), "a"}});
  data.added = {{.id = 0, .special = true}};
  EXPECT_TRUE(gguf_tokenizer_notes(data).empty());
  data.added[0].normalized = true;
  EXPECT_THAT(gguf_tokenizer_notes(data), testing::ElementsAre(HasSubstr("in front of text after")));
  data.added.clear();
  data.normalize.erase(data.normalize.begin());
  EXPECT_TRUE(gguf_tokenizer_notes(data).empty());
  data.pre_tokenize.push_back({.kind = PreTokenizeStep::Kind::prepend, .content = std::string(kMetaSpace)});
  EXPECT_THAT(gguf_tokenizer_notes(data), testing::ElementsAre(HasSubstr("before a space")));
}

TEST(GgufExport, RefusesMergesThatScoresWouldChange) {
  // The second way to "abc", "a" + "bc", is no merge: scores would take it.
  const TempDir folder;
  EXPECT_THAT(error_of([&] {
                tokenizer_file(folder, llama2_kind({{"b", "c"}, {"a", "b"}, {"ab", "c"}}));
              }),
              HasSubstr("'abc'"));
  // Equal scores would merge two and two where the list takes two and one.
  const std::string one(kMetaSpace), two = one + one, three = two + one;
  EXPECT_THAT(
      error_of([&] {
        tokenizer_file(
            folder,
            llama2_kind({{one, one}, {three, one}, {two, one}, {two, two}, {one, two}, {one, three}}));
      }),
      HasSubstr(three + one));
  // "abc" is made at ranks 2 and 4, "cc" between them: one score cannot say that.
  EXPECT_THAT(
      error_of([&] {
        tokenizer_file(folder, llama2_kind({{"b", "c"}, {"a", "b"}, {"ab", "c"}, {"c", "c"}, {"a", "bc"}}));
      }),
      HasSubstr("'abc'"));
}

}  // namespace
}  // namespace edgeq
