// SPDX-License-Identifier: Apache-2.0
#include "models/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "models/sites.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using ::testing::HasSubstr;

ModelConfig full_config() {
  ModelConfig config;
  config.family = "qwen3";
  config.hidden = 64;
  config.vocab = 100;
  config.context = 128;
  config.layers.assign(12, {.heads = 4, .kv_heads = 2, .head_dim = 32, .ffn = 96});
  config.qkv_bias = config.o_bias = config.mlp_bias = config.qk_norm = true;
  return config;
}

TEST(Names, EveryTensorOfAModelHasANameOfItsOwnInBothFormats) {
  const ModelConfig config = full_config();
  std::vector<std::string> names;
  for (const SiteShape& site : all_sites(config)) names.push_back(site.name);
  for (const VectorShape& vector : all_vectors(config)) names.push_back(vector.name);
  ASSERT_EQ(names.size(), 2u + 12u * 7u + 1u + 12u * (4u + 7u));
  for (const Naming naming : {Naming::hf, Naming::gguf}) {
    std::set<std::string> stored;
    for (const std::string& name : names) stored.insert(checkpoint_name(name, naming, "qwen3"));
    EXPECT_EQ(stored.size(), names.size());
  }
}

TEST(Names, AreThoseOfTheFormats) {
  const auto hf = [](const char* name, const char* family = "llama") {
    return checkpoint_name(name, Naming::hf, family);
  };
  const auto gguf = [](const char* name, const char* family = "llama") {
    return checkpoint_name(name, Naming::gguf, family);
  };
  EXPECT_EQ(hf("layers.3.mlp.down_proj"), "model.layers.3.mlp.down_proj.weight");
  EXPECT_EQ(gguf("layers.3.mlp.down_proj"), "blk.3.ffn_down.weight");
  EXPECT_EQ(hf("layers.11.attn.q_proj.bias"), "model.layers.11.self_attn.q_proj.bias");
  EXPECT_EQ(gguf("layers.11.attn.o_proj.bias"), "blk.11.attn_output.bias");
  EXPECT_EQ(hf("layers.0.mlp_norm"), "model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(gguf("layers.0.attn.k_norm"), "blk.0.attn_k_norm.weight");
  EXPECT_EQ(hf("embedding"), "model.embed_tokens.weight");
  EXPECT_EQ(gguf("head"), "output.weight");
  EXPECT_EQ(hf("layers.0.mlp_norm", "gemma3"), "model.layers.0.pre_feedforward_layernorm.weight");
  EXPECT_EQ(hf("layers.0.attn_post_norm", "olmo2"), "model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(gguf("layers.0.mlp_post_norm", "gemma2"), "blk.0.post_ffw_norm.weight");
  EXPECT_EQ(hf("layers.2.attn.v_proj", "phi3"), "model.layers.2.self_attn.qkv_proj.weight");
  EXPECT_EQ(gguf("layers.2.mlp.gate_proj", "phi3"), "blk.2.ffn_up.weight");
  EXPECT_EQ(hf("layers.2.attn.k_proj.bias", "gptneox"), "gpt_neox.layers.2.attention.query_key_value.bias");
  EXPECT_EQ(hf("head", "gptneox"), "embed_out.weight");
  EXPECT_EQ(hf("positions", "gpt2"), "transformer.wpe.weight");
  EXPECT_EQ(hf("layers.1.mlp.up_proj", "gpt2"), "transformer.h.1.mlp.c_fc.weight");
  EXPECT_EQ(gguf("final_norm.bias", "gpt2"), "output_norm.bias");
}

TEST(Names, WhatIsNotOursIsNotNamed) {
  for (const char* name :
       {"layers.3.attn", "layers.3.mlp.up", "layers.03.mlp.up_proj", "layers.-1.mlp.up_proj",
        "layers.99999999999999999999.mlp.up_proj", "layers.3", "embed", ".bias", ""})
    EXPECT_THAT(error_of([&] { checkpoint_name(name, Naming::hf, "llama"); }), HasSubstr(name)) << name;
}

ModelConfig config_of(const std::string& family) {
  ModelConfig config = full_config();
  config.family = family;
  return config;
}

TEST(Placement, FusedMatricesLieOneBehindTheOtherOrByHead) {
  // 4 heads and 2 KV heads of 32 rows: q 128, k 64, v 64.
  const auto place = [](const char* family, const char* part, int64_t rows, Naming naming) {
    return placement(config_of(family), layer_site(1, part), rows, naming);
  };
  const Placement v = place("phi3", "attn.v_proj", 64, Naming::hf);
  EXPECT_EQ(v.stored_row(0), 192);
  EXPECT_EQ(v.stored_shape({64, 64}), (Shape{256, 64}));
  const Placement up = place("phi3", "mlp.up_proj", 96, Naming::gguf);
  EXPECT_EQ(up.stored_row(5), 101);
  EXPECT_EQ(up.stored_shape({96, 64}), (Shape{192, 64}));
  // A fused bias lies as its weight does.
  EXPECT_EQ(place("phi3", "attn.k_proj.bias", 64, Naming::hf).stored_row(3), 131);

  ModelConfig neox = config_of("gptneox");
  for (LayerShape& layer : neox.layers) layer.kv_heads = 4;
  const Placement k = placement(neox, "layers.1.attn.k_proj", 128, Naming::hf);
  EXPECT_EQ(k.stored_row(0), 32);
  EXPECT_EQ(k.stored_row(33), 96 + 32 + 1);
  EXPECT_EQ(placement(neox, "layers.1.attn.k_proj", 128, Naming::gguf).stored_row(33), 128 + 33);
  EXPECT_THAT(error_of([&] { placement(config_of("gptneox"), "layers.1.attn.k_proj", 64, Naming::hf); }),
              HasSubstr("2 kv_heads for 4 heads"));
}

TEST(Placement, SaysOrderOrientationAndOffset) {
  const Placement q = placement(config_of("granite"), "layers.0.attn.q_proj", 128, Naming::gguf);
  EXPECT_EQ(q.stored_row(32 + 16), 32 + 1) << "row d/2 of a head turns with its row 0";
  EXPECT_FALSE(placement(config_of("granite"), "layers.0.attn.q_proj", 128, Naming::hf).reordered());
  const Placement up = placement(config_of("gpt2"), "layers.0.mlp.up_proj", 96, Naming::hf);
  EXPECT_EQ(up.stored_shape({96, 64}), (Shape{64, 96}));
  EXPECT_FALSE(placement(config_of("gpt2"), "layers.0.mlp.up_proj", 96, Naming::gguf).transposed);
  EXPECT_EQ(placement(config_of("gemma2"), "final_norm", 64, Naming::hf).offset, 1);
  EXPECT_EQ(placement(config_of("gemma2"), "final_norm", 64, Naming::gguf).offset, 0);
  EXPECT_EQ(placement(config_of("gemma2"), "layers.0.attn.q_proj", 128, Naming::hf).offset, 0);
}

TEST(Sites, ShapesFollowHeadsAndFeedForward) {
  const ModelConfig config = full_config();
  const auto sites = layer_sites(config, 2);
  ASSERT_EQ(sites.size(), 7u);
  EXPECT_EQ(sites[0], (SiteShape{"layers.2.attn.q_proj", 128, 64, true}));
  EXPECT_EQ(sites[1], (SiteShape{"layers.2.attn.k_proj", 64, 64, true}));
  EXPECT_EQ(sites[3], (SiteShape{"layers.2.attn.o_proj", 64, 128, true}));
  EXPECT_EQ(sites[6], (SiteShape{"layers.2.mlp.down_proj", 64, 96, true}));
  EXPECT_EQ(layer_norms(config, 2)[1], (VectorShape{"layers.2.attn.q_norm", 32}));
  EXPECT_EQ(all_sites(config).back().name, "head");
  ModelConfig tied = config;
  tied.tied_head = true;
  EXPECT_EQ(all_sites(tied).back().name, "layers.11.mlp.down_proj");
}

}  // namespace
}  // namespace edgeq
