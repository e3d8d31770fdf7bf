// SPDX-License-Identifier: Apache-2.0
#include "models/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "tests/models/toy_checkpoint.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

bool same_values(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), size_t(a.bytes())) == 0;
}

void expect_loads(const Checkpoint& checkpoint, const ToyModel& toy) {
  for (const auto& [name, tensor] : toy.tensors) {
    ASSERT_TRUE(checkpoint.has(name)) << name;
    EXPECT_TRUE(same_values(checkpoint.load(name), tensor)) << name;
  }
}

ModelConfig biased_config(const std::string& family) {
  ModelConfig config = toy_config(family);
  config.tied_head = false;
  config.qkv_bias = true;
  config.o_bias = family != "qwen2";
  config.mlp_bias = family == "llama";
  return config;
}

TEST(HfCheckpoint, GivesTheWeightsThatWereStoredInEveryFloatType) {
  const ToyModel toy = make_toy(biased_config("llama"));
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const TempDir folder;
    const auto checkpoint = open_checkpoint(write_hf(folder, toy, dtype));
    EXPECT_EQ(checkpoint->config(), toy.config);
    EXPECT_EQ(checkpoint->encoding("layers.1.mlp.up_proj"), dtype_name(dtype));
    EXPECT_FALSE(checkpoint->has("layers.2.mlp.up_proj"));
    expect_loads(*checkpoint, toy);
  }
}

TEST(HfCheckpoint, ReadsShards) {
  const ToyModel toy = make_toy(toy_config());
  const TempDir folder;
  folder.write("config.json", toy_hf_config(toy.config));
  StoredTensors shards[2];
  std::string map;
  for (auto& [name, tensor] : hf_tensors(toy, DType::f32)) {
    const size_t shard = name.find("layers.0") == name.npos;
    map += (map.empty() ? "\"" : ", \"") + name + "\": \"part" + std::to_string(shard) + ".safetensors\"";
    shards[shard].emplace(name, std::move(tensor));
  }
  folder.write("model.safetensors.index.json", "{\"metadata\": {}, \"weight_map\": {" + map + "}}");
  write_safetensors(folder.file("part0.safetensors"), shards[0]);
  EXPECT_THAT(error_of([&] { open_checkpoint(folder.path().string()); }), HasSubstr("part1.safetensors"));
  write_safetensors(folder.file("part1.safetensors"), shards[1]);
  const auto checkpoint = open_checkpoint(folder.path().string());
  expect_loads(*checkpoint, toy);
  EXPECT_EQ(checkpoint->file_bytes(), int64_t(std::filesystem::file_size(folder.file("part0.safetensors")) +
                                              std::filesystem::file_size(folder.file("part1.safetensors"))));
}

TEST(GgufCheckpoint, EqualsTheFolderInEveryFamily) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    const ToyModel toy = make_toy(biased_config(family));
    const TempDir folder;
    const auto hf = open_checkpoint(write_hf(folder, toy));
    const auto gguf =
        open_checkpoint(write_gguf(folder.file("toy.gguf"), gguf_metadata(toy.config), gguf_tensors(toy)));
    ModelConfig expected = hf->config();
    expected.norm_epsilon = 1e-5f;  // GGUF keeps it as a float
    EXPECT_EQ(gguf->config(), expected);
    expect_loads(*hf, toy);
    expect_loads(*gguf, toy);
  }
}

// Row h*d + s*d/2 + i of ours is row h*d + 2i + s of the file: rows that carry their own number.
TEST(GgufCheckpoint, UndoesTheRotaryRowOrderOfArchitectureLlama) {
  const ToyModel toy = make_toy(toy_config());
  const auto numbered = [](StoredTensors tensors) {
    Tensor& q = tensors.at("blk.0.attn_q.weight");
    for (int64_t r = 0; r < 32; ++r)
      for (int64_t c = 0; c < 32; ++c) q.matrix()(r, c) = float(r);
    return tensors;
  };
  const TempDir folder;
  const auto checkpoint = open_checkpoint(
      write_gguf(folder.file("toy.gguf"), gguf_metadata(toy.config), numbered(gguf_tensors(toy))));
  const Tensor q = checkpoint->load("layers.0.attn.q_proj");
  const float head[] = {0, 2, 4, 6, 1, 3, 5, 7};
  for (int64_t r = 0; r < 32; ++r) EXPECT_EQ(q.matrix()(r, 5), float(r / 8 * 8) + head[r % 8]) << r;
  const Tensor part = checkpoint->load_rows("layers.0.attn.q_proj", 9, 3);
  EXPECT_EQ(part.matrix()(0, 0), 10);
  EXPECT_EQ(part.matrix()(2, 31), 14);
}

TEST(GgufCheckpoint, ReadsWhatMetadataAndTensorsSay) {
  ModelConfig config = toy_config();
  config.layers[1].ffn = 96;
  const ToyModel toy = make_toy(config);
  Metadata metadata = gguf_metadata(config);
  metadata["llama.feed_forward_length"] = std::vector<int32_t>{64, 96};
  metadata["llama.attention.head_count"] = std::vector<int32_t>{4, 4};
  metadata["llama.attention.sliding_window"] = uint32_t(16);
  metadata["llama.rope.scaling.type"] = std::string("linear");
  metadata["llama.rope.scaling.factor"] = 2.0f;
  StoredTensors tensors = gguf_tensors(toy);
  Tensor divisors(DType::f32, {4});
  for (int64_t i = 0; i < 4; ++i) divisors.f32()[i] = float(1 + i);
  tensors.emplace("rope_freqs.weight", divisors);
  const TempDir folder;
  const auto checkpoint = open_checkpoint(write_gguf(folder.file("toy.gguf"), metadata, tensors));
  const ModelConfig& read = checkpoint->config();
  EXPECT_TRUE(read.tied_head);
  EXPECT_EQ(read.layers[0].ffn, 64);
  EXPECT_EQ(read.layers[1].ffn, 96);
  EXPECT_EQ(read.layers[1].window, 16);
  EXPECT_EQ(read.rope_divisors, (std::vector<float>{2, 4, 6, 8}));
  EXPECT_EQ(read.vocab, 40);
  expect_loads(*checkpoint, toy);
}

std::string gguf_error(const std::function<void(Metadata&, StoredTensors&)>& spoil) {
  const ToyModel toy = make_toy(toy_config());
  Metadata metadata = gguf_metadata(toy.config);
  StoredTensors tensors = gguf_tensors(toy);
  spoil(metadata, tensors);
  const TempDir folder;
  const std::string path = write_gguf(folder.file("toy.gguf"), metadata, tensors);
  const std::string message = error_of([&] { open_checkpoint(path); });
  EXPECT_THAT(message, HasSubstr("toy.gguf"));
  return message;
}

TEST(GgufCheckpoint, RefusesWhatItCannotRunAndWhatContradictsItself) {
  EXPECT_THAT(gguf_error([](Metadata& m, auto&) { m["general.architecture"] = std::string("gemma"); }),
              AllOf(HasSubstr("\"gemma\""), HasSubstr("qwen3")));
  EXPECT_THAT(gguf_error([](Metadata& m, auto&) { m["llama.expert_count"] = uint32_t(8); }),
              HasSubstr("llama.expert_count is 8"));
  EXPECT_THAT(gguf_error([](Metadata& m, auto&) { m["llama.rope.dimension_count"] = uint32_t(4); }),
              AllOf(HasSubstr("dimension_count is 4"), HasSubstr("head size 8")));
  EXPECT_THAT(gguf_error([](Metadata& m, auto&) { m["llama.rope.scaling.type"] = std::string("yarn"); }),
              HasSubstr("yarn"));
  EXPECT_THAT(gguf_error([](Metadata& m, auto&) { m["llama.block_count"] = uint64_t(1) << 60; }),
              HasSubstr("1 to 4096"));
  EXPECT_THAT(gguf_error([](Metadata& m, auto&) { m["llama.embedding_length"] = uint64_t(1) << 63; }),
              HasSubstr("embedding_length"));
  EXPECT_THAT(gguf_error([](Metadata& m, auto&) {
                m["llama.attention.head_count_kv"] = std::vector<int32_t>{2, 2, 2};
              }),
              HasSubstr("has 3 items"));
  EXPECT_THAT(gguf_error([](Metadata& m, auto&) { m.erase("llama.context_length"); }),
              HasSubstr("llama.context_length"));
  EXPECT_THAT(gguf_error([](Metadata& m, auto&) { m["llama.attention.head_count"] = uint32_t(0); }),
              HasSubstr("head_count is 0"));
  EXPECT_THAT(
      gguf_error([](auto&, StoredTensors& t) { t.emplace("blk.1.attn_q.bias", Tensor(DType::f32, {32})); }),
      AllOf(HasSubstr("blk.0.attn_q.bias is missing"), HasSubstr("blk.1.attn_q.bias is present")));
  EXPECT_THAT(
      gguf_error([](auto&, StoredTensors& t) { t.emplace("rope_freqs.weight", Tensor(DType::f32, {3})); }),
      HasSubstr("rope_freqs.weight is F32 [3]"));
  EXPECT_THAT(gguf_error([](auto&, StoredTensors& t) { t.erase("token_embd.weight"); }),
              HasSubstr("token_embd.weight is missing"));
}

std::string hf_error(const Spoil& spoil) {
  const TempDir folder;
  const std::string path = write_hf(folder, make_toy(toy_config()), DType::f32, spoil);
  return error_of([&] { open_checkpoint(path); });
}

TEST(HfCheckpoint, NamesTheTensorThatIsMissingMisshapenOrStrange) {
  EXPECT_THAT(hf_error([](StoredTensors& t) { t.erase("model.layers.1.mlp.up_proj.weight"); }),
              HasSubstr("model.layers.1.mlp.up_proj.weight is missing"));
  EXPECT_THAT(hf_error([](StoredTensors& t) {
                t["model.layers.1.mlp.up_proj.weight"] = Tensor(DType::f32, {32, 64});
              }),
              AllOf(HasSubstr("[32, 64]"), HasSubstr("[64, 32]")));
  EXPECT_THAT(hf_error([](StoredTensors& t) { t["model.norm.weight"] = Tensor(DType::i32, {32}); }),
              AllOf(HasSubstr("model.norm.weight is I32"), HasSubstr("floating")));
  EXPECT_THAT(hf_error([](StoredTensors& t) {
                t["model.layers.0.self_attn.q_proj.bias"] = Tensor(DType::f32, {32});
              }),
              HasSubstr("q_proj.bias is not part of a llama model of this config"));
  EXPECT_THAT(hf_error([](StoredTensors& t) {
                t["model.layers.2.input_layernorm.weight"] = Tensor(DType::f32, {32});
              }),
              HasSubstr("not part of"));
}

TEST(HfCheckpoint, TablesThatCanBeComputedAreIgnored) {
  const TempDir folder;
  const ToyModel toy = make_toy(toy_config());
  const auto checkpoint = open_checkpoint(write_hf(folder, toy, DType::f32, [](StoredTensors& t) {
    t["model.layers.0.self_attn.rotary_emb.inv_freq"] = Tensor(DType::f32, {4});
  }));
  expect_loads(*checkpoint, toy);
}

TEST(HfCheckpoint, AHeadBesideATiedTableDecidesWhetherItIsTied) {
  const ToyModel toy = make_toy(toy_config());
  const auto tied = [&](DType head_dtype, float change) {
    const TempDir folder;
    return open_checkpoint(write_hf(folder, toy, DType::f32,
                                    [&](StoredTensors& stored) {
                                      Tensor head = toy.tensors.at("embedding");
                                      head.f32()[77] += change;
                                      stored["lm_head.weight"] = from_f32(head, head_dtype);
                                    }))
        ->config()
        .tied_head;
  };
  EXPECT_TRUE(tied(DType::f32, 0));
  EXPECT_TRUE(tied(DType::bf16, 0));
  EXPECT_FALSE(tied(DType::f32, 1));
  EXPECT_FALSE(tied(DType::bf16, 1));
}

TEST(HfCheckpoint, NanAndInfinityAreRefusedOnLoadWithNameAndPlace) {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()};
  for (const float value : bad) {
    const TempDir folder;
    const auto checkpoint =
        open_checkpoint(write_hf(folder, make_toy(toy_config()), DType::f32, [&](StoredTensors& t) {
          t.at("model.layers.1.mlp.up_proj.weight").matrix()(3, 7) = value;
          t.at("model.norm.weight").f32()[5] = value;
        }));
    EXPECT_THAT(error_of([&] { checkpoint->load("layers.1.mlp.up_proj"); }),
                AllOf(HasSubstr("model.layers.1.mlp.up_proj.weight"), HasSubstr("[3, 7]"),
                      HasSubstr(std::isnan(value) ? "nan" : "-inf")));
    EXPECT_THAT(error_of([&] { checkpoint->load_rows("layers.1.mlp.up_proj", 2, 4); }), HasSubstr("[3, 7]"));
    EXPECT_THAT(error_of([&] { load_ends(*checkpoint); }), HasSubstr("model.norm.weight"));
    EXPECT_NO_THROW(checkpoint->load("layers.1.mlp.gate_proj"));
  }
}

TEST(OpenCheckpoint, SaysWhatAPathIsNot) {
  const TempDir folder;
  EXPECT_THAT(error_of([&] { open_checkpoint(folder.file("nothing")); }), HasSubstr("no such file"));
  EXPECT_THAT(error_of([&] { open_checkpoint(folder.path().string()); }), HasSubstr("config.json"));
  folder.write("config.json", toy_hf_config(toy_config()));
  EXPECT_THAT(error_of([&] { open_checkpoint(folder.path().string()); }), HasSubstr("model.safetensors"));
  folder.write("pytorch_model.bin", "PK");
  for (const std::string& path : {folder.path().string(), folder.file("pytorch_model.bin")}) {
    try {
      open_checkpoint(path);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("pickled")));
      EXPECT_THAT(error.hint(), HasSubstr("save_pretrained"));
    }
  }
  folder.write("notes.txt", "hello");
  EXPECT_THAT(error_of([&] { open_checkpoint(folder.file("notes.txt")); }), HasSubstr("not a checkpoint"));
  std::filesystem::remove(folder.file("pytorch_model.bin"));
  folder.write("config.json", "{\"architectures\": [\"T5\"]}");
  EXPECT_THAT(error_of([&] { open_checkpoint(folder.path().string()); }),
              HasSubstr("config.json: architecture"));
}

TEST(Checkpoint, HashFollowsEveryByteAndTheConfig) {
  const auto hash_of = [](const ToyModel& toy, const Spoil& spoil = {}) {
    const TempDir folder;
    return open_checkpoint(write_hf(folder, toy, DType::f32, spoil))->hash();
  };
  const ToyModel toy = make_toy(toy_config());
  const std::string hash = hash_of(toy);
  EXPECT_EQ(hash.size(), 32u);
  EXPECT_EQ(hash, hash_of(toy));
  EXPECT_NE(hash, hash_of(toy, [](StoredTensors& t) { t.at("model.norm.weight").f32()[31] += 1; }));
  ToyModel other = make_toy(toy_config());
  other.config.context = 63;
  EXPECT_NE(hash, hash_of(other));
}

TEST(Checkpoint, ManyThreadsMayReadAndHash) {
  const ToyModel toy = make_toy(toy_config());
  const TempDir folder;
  const auto checkpoint = open_checkpoint(write_hf(folder, toy));
  std::vector<std::string> hashes(4);
  std::vector<std::thread> threads;
  for (std::string& hash : hashes)
    threads.emplace_back([&] {
      hash = checkpoint->hash();
      expect_loads(*checkpoint, toy);
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& hash : hashes) EXPECT_EQ(hash, hashes[0]);
}

TEST(LoadBlock, StagesListTheSitesThatReadOneInput) {
  const ToyModel toy = make_toy(biased_config("llama"));
  const TempDir folder;
  const auto checkpoint = open_checkpoint(write_hf(folder, toy));
  const Block block = load_block(*checkpoint, 1);
  EXPECT_EQ(block.index, 1);
  std::string order;
  for (const Stage& stage : block.stages) {
    order += stage.name + ":";
    for (const int site : stage.sites) order += " " + block.sites[size_t(site)].name.substr(9);
    order += "; ";
  }
  EXPECT_EQ(order,
            "qkv: attn.q_proj attn.k_proj attn.v_proj; o: attn.o_proj; gate_up: mlp.gate_proj mlp.up_proj; "
            "down: mlp.down_proj; ");
  for (const Site& site : block.sites) {
    EXPECT_TRUE(same_values(site.weight, toy.tensors.at(site.name)));
    EXPECT_TRUE(same_values(site.bias, toy.tensors.at(site.name + ".bias")));
  }
  ASSERT_EQ(block.others.size(), 2u);
  EXPECT_EQ(block.others[1].name, "layers.1.mlp_norm");
  const Ends ends = load_ends(*checkpoint);
  EXPECT_TRUE(same_values(ends.head_site().weight, toy.tensors.at("head")));
}

}  // namespace
}  // namespace edgeq
