// SPDX-License-Identifier: Apache-2.0
#include "models/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(Names, EveryTensorOfAModelHasANameInBothFormatsAndComesBack) {
  const ModelConfig config = full_config();
  std::vector<std::string> names;
  for (const SiteShape& site : all_sites(config)) names.push_back(site.name);
  for (const VectorShape& vector : all_vectors(config)) names.push_back(vector.name);
  ASSERT_EQ(names.size(), 2u + 12u * 7u + 1u + 12u * (4u + 7u));
  for (const std::string& name : names)
    for (const Naming naming : {Naming::hf, Naming::gguf})
      EXPECT_EQ(site_name(checkpoint_name(name, naming), naming), name);
}

TEST(Names, AreThoseOfTheFormats) {
  EXPECT_EQ(checkpoint_name("layers.3.mlp.down_proj", Naming::hf), "model.layers.3.mlp.down_proj.weight");
  EXPECT_EQ(checkpoint_name("layers.3.mlp.down_proj", Naming::gguf), "blk.3.ffn_down.weight");
  EXPECT_EQ(checkpoint_name("layers.11.attn.q_proj.bias", Naming::hf),
            "model.layers.11.self_attn.q_proj.bias");
  EXPECT_EQ(checkpoint_name("layers.11.attn.o_proj.bias", Naming::gguf), "blk.11.attn_output.bias");
  EXPECT_EQ(checkpoint_name("layers.0.mlp_norm", Naming::hf),
            "model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(checkpoint_name("layers.0.attn.k_norm", Naming::gguf), "blk.0.attn_k_norm.weight");
  EXPECT_EQ(checkpoint_name("embedding", Naming::hf), "model.embed_tokens.weight");
  EXPECT_EQ(checkpoint_name("head", Naming::gguf), "output.weight");
}

TEST(Names, WhatIsNotOursIsNotNamed) {
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.lora_A.weight", "model.layers.x.mlp.up_proj.weight",
        "model.layers.01.mlp.up_proj.weight", "model.layers.-1.mlp.up_proj.weight", "model.layers.3",
        "model.layers.99999999999999999999.mlp.up_proj.weight", "lm_head", ".weight", ""})
    EXPECT_EQ(site_name(name, Naming::hf), std::nullopt) << name;
  EXPECT_EQ(site_name("rope_freqs.weight", Naming::gguf), std::nullopt);
  EXPECT_THAT(error_of([] { checkpoint_name("layers.3.attn", Naming::hf); }), HasSubstr("layers.3.attn"));
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
