// SPDX-License-Identifier: Apache-2.0
#include "models/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/error.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

// A small Llama; `more` is put in front of the closing brace and wins over what is here.
std::string config_text(const std::string& architecture, const std::string& more = "") {
  return R"({"architectures": [")" + architecture + R"("], "hidden_size": 64, "vocab_size": 100,
    "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 256)" +
         (more.empty() ? "" : ", " + more) + "}";
}
ModelConfig llama(const std::string& more = "") {
  return parse_hf_config(config_text("LlamaForCausalLM", more));
}
std::string llama_error(const std::string& more) {
  return error_of([&] { llama(more); });
}
std::vector<int64_t> windows(const ModelConfig& config) {
  std::vector<int64_t> result;
  for (const LayerShape& layer : config.layers) result.push_back(layer.window);
  return result;
}

TEST(HfConfig, LlamaTakesTheDefaultsOfTransformers) {
  const ModelConfig config = llama();
  EXPECT_EQ(config.family, "llama");
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.vocab, 100);
  EXPECT_EQ(config.context, 256);
  ASSERT_EQ(config.layers.size(), 3u);
  EXPECT_THAT(config.layers, Each(LayerShape{.heads = 4, .kv_heads = 4, .head_dim = 16, .ffn = 96}));
  EXPECT_EQ(config.norm_epsilon, 1e-6);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_TRUE(config.rope_divisors.empty());
  EXPECT_FALSE(config.tied_head || config.qkv_bias || config.o_bias || config.mlp_bias || config.qk_norm);
}

TEST(HfConfig, ReadsWhatSmolLm2AndLlama3Say) {
  const ModelConfig config = llama(R"("num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-05,
    "tie_word_embeddings": true, "attention_bias": true, "mlp_bias": true, "hidden_act": "silu",
    "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"})");
  EXPECT_EQ(config.layers[2].kv_heads, 2);
  EXPECT_EQ(config.layers[2].head_dim, 32);
  EXPECT_EQ(config.norm_epsilon, 1e-5);
  EXPECT_EQ(config.rope_theta, 100000);
  EXPECT_TRUE(config.tied_head && config.qkv_bias && config.o_bias && config.mlp_bias);
}

TEST(HfConfig, MistralHasItsOwnDefaultsAndSlidesInEveryLayer) {
  const auto mistral = [](const std::string& more) {
    return parse_hf_config(config_text("MistralForCausalLM", R"("num_attention_heads": 8)" + more));
  };
  const ModelConfig config = mistral("");
  EXPECT_EQ(config.family, "llama");
  EXPECT_EQ(config.layers[0].kv_heads, 8);
  EXPECT_THAT(windows(config), Each(4096));
  EXPECT_THAT(windows(mistral(R"(, "sliding_window": null)")), Each(0));
  EXPECT_THAT(windows(mistral(R"(, "sliding_window": 128)")), Each(128));
}

TEST(HfConfig, Qwen2HasBiasesOnQkvAndQwen3NormsOnItsHeads) {
  const std::string heads = R"("num_key_value_heads": 2)";
  const ModelConfig qwen2 = parse_hf_config(config_text("Qwen2ForCausalLM", heads));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias || qwen2.qk_norm);
  EXPECT_EQ(qwen2.layers[0].head_dim, 16);
  const ModelConfig qwen3 = parse_hf_config(config_text("Qwen3ForCausalLM", heads));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.qkv_bias);
  EXPECT_EQ(qwen3.layers[0].head_dim, 128);
}

TEST(HfConfig, QwenSlidesOnlyWhereTransformersDoes) {
  const auto qwen = [](const std::string& more) {
    return windows(parse_hf_config(
        config_text("Qwen2ForCausalLM", R"("num_key_value_heads": 4, "sliding_window": 128)" + more)));
  };
  using V = std::vector<int64_t>;
  EXPECT_EQ(qwen(R"(, "max_window_layers": 2)"), (V{0, 0, 0}));
  EXPECT_EQ(qwen(R"(, "max_window_layers": 2, "use_sliding_window": true)"), (V{0, 0, 128}));
  EXPECT_EQ(qwen(R"(, "use_sliding_window": true,
      "layer_types": ["sliding_attention", "full_attention", "full_attention"])"),
            (V{128, 0, 0}));
}

TEST(HfConfig, LinearScalingIsOneDivisor) {
  const ModelConfig old_form =
      llama(R"("rope_scaling": {"type": "linear", "factor": 4.0}, "rope_theta": 5000)");
  const ModelConfig new_form =
      llama(R"("rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000})");
  EXPECT_EQ(old_form.rope_divisors, std::vector<float>(8, 4.0f));
  EXPECT_EQ(old_form, new_form);
}

// Frequencies divided by those of transformers 5.23 ROPE_INIT_FUNCTIONS["llama3"] for these parameters; its
// float arithmetic is good to a few 2^-24.
TEST(HfConfig, Llama3ScalingAgreesWithTransformers) {
  const ModelConfig config = llama(R"("head_dim": 64, "rope_theta": 500000.0, "rope_scaling": {"factor": 32.0,
    "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    "rope_type": "llama3"})");
  ASSERT_EQ(config.rope_divisors.size(), 32u);
  const auto near = [](double found, double expected) {
    return std::abs(found / expected - 1) < 4 * 0x1p-24 * 4;
  };
  EXPECT_EQ(config.rope_divisors[0], 1);
  EXPECT_EQ(config.rope_divisors[14], 1);
  EXPECT_TRUE(near(config.rope_divisors[15], 1.6513291401749));
  EXPECT_TRUE(near(config.rope_divisors[16], 3.2922628042399933));
  EXPECT_TRUE(near(config.rope_divisors[17], 9.666730540721245));
  EXPECT_EQ(config.rope_divisors[18], 32);
  EXPECT_EQ(config.rope_divisors[31], 32);
  EXPECT_FALSE(near(config.rope_divisors[16], 3.2922628042399933 * 1.00001));
}

TEST(HfConfig, RefusesWhatWouldChangeResults) {
  EXPECT_THAT(llama_error(R"("rope_scaling": {"rope_type": "yarn", "factor": 4.0})"),
              AllOf(HasSubstr("\"yarn\""), HasSubstr("llama3 or longrope")));
  EXPECT_THAT(llama_error(R"("hidden_act": "gelu")"), AllOf(HasSubstr("gelu"), HasSubstr("silu")));
  EXPECT_THAT(llama_error(R"("partial_rotary_factor": 0.5)"), HasSubstr("partial_rotary_factor is 0.5"));
  EXPECT_THAT(llama_error(R"("rope_parameters": {"full_attention": {"rope_theta": 1e4}})"),
              HasSubstr("one set of parameters"));
}

TEST(HfConfig, OptionsOfOtherFamiliesThatWouldChangeResultsAreRefusedByName) {
  const auto refusal = [](const char* architecture, const std::string& more) {
    return error_of([&] { parse_hf_config(config_text(architecture, more)); });
  };
  EXPECT_THAT(refusal("Gemma3ForCausalLM", R"("use_bidirectional_attention": true)"),
              HasSubstr("use_bidirectional_attention is true"));
  EXPECT_THAT(refusal("Gemma2ForCausalLM", R"("hidden_activation": "gelu")"),
              AllOf(HasSubstr("hidden_activation"), HasSubstr("gelu_pytorch_tanh")));
  EXPECT_THAT(refusal("StableLmForCausalLM", R"("num_key_value_heads": 4, "qk_layernorm": true)"),
              HasSubstr("qk_layernorm is true"));
  EXPECT_THAT(refusal("GPTNeoXForCausalLM", R"("hidden_act": "relu")"), HasSubstr("hidden_act is \"relu\""));
  EXPECT_THAT(refusal("GPTNeoXForCausalLM", R"("rotary_pct": 1.5)"), HasSubstr("rotary_pct is 1.5"));
  EXPECT_THAT(refusal("Phi3ForCausalLM", R"("rope_scaling": {"type": "longrope", "short_factor": [1, 2]})"),
              HasSubstr("long_factor is missing"));
  EXPECT_THAT(refusal("Phi3ForCausalLM",
                      R"("rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]})"),
              HasSubstr("1 rope divisors for head_dim 16; expected 8"));
  const auto gpt2 = [](const std::string& more) {
    return error_of([&] {
      parse_hf_config(
          R"({"model_type": "gpt2", "n_embd": 64, "vocab_size": 100, "n_layer": 2, "n_head": 4, )" + more +
          "}");
    });
  };
  EXPECT_THAT(gpt2(R"("scale_attn_by_inverse_layer_idx": true)"),
              HasSubstr("scale_attn_by_inverse_layer_idx is true"));
  EXPECT_THAT(gpt2(R"("add_cross_attention": true)"), HasSubstr("add_cross_attention is true"));
  EXPECT_THAT(gpt2(R"("activation_function": "silu")"), HasSubstr("activation_function is \"silu\""));
}

TEST(HfConfig, AnUnknownArchitectureListsTheKnown) {
  const std::string message = error_of([] { parse_hf_config(config_text("GemmaForCausalLM")); });
  EXPECT_THAT(message, AllOf(HasSubstr("GemmaForCausalLM"), HasSubstr("LlamaForCausalLM"),
                             HasSubstr("Qwen3ForCausalLM")));
}

TEST(HfConfig, NamesTheMissingTheMistypedAndTheAbsurd) {
  EXPECT_THAT(error_of([] { parse_hf_config(R"({"architectures": ["LlamaForCausalLM"]})"); }),
              HasSubstr("hidden_size is missing"));
  EXPECT_THAT(llama_error(R"("vocab_size": "many")"),
              HasSubstr("vocab_size is \"many\"; expected an integer"));
  EXPECT_THAT(llama_error(R"("vocab_size": 1e3)"), HasSubstr("vocab_size"));
  EXPECT_THAT(llama_error(R"("vocab_size": 18446744073709551615)"), HasSubstr("vocab_size"));
  EXPECT_THAT(llama_error(R"("num_hidden_layers": 1000000000000)"), HasSubstr("1 to 4096"));
  EXPECT_THAT(llama_error(R"("num_attention_heads": 0)"), HasSubstr("num_attention_heads is 0"));
  EXPECT_THAT(llama_error(R"("num_key_value_heads": 3)"), HasSubstr("not a multiple of 3"));
  EXPECT_THAT(llama_error(R"("head_dim": 15)"), HasSubstr("even number"));
  EXPECT_THAT(llama_error(R"("hidden_size": -64)"), HasSubstr("hidden size is -64"));
  EXPECT_THAT(llama_error(R"("rms_norm_eps": -1)"), HasSubstr("epsilon"));
  EXPECT_THAT(llama_error(R"("rope_theta": 0)"), HasSubstr("theta"));
  EXPECT_THAT(llama_error(R"("tie_word_embeddings": 1)"), HasSubstr("expected true or false"));
  EXPECT_THAT(error_of([] { parse_hf_config("{"); }), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of([] { parse_hf_config("[]"); }), HasSubstr("not an object"));
}

TEST(HfConfig, DeeplyNestedJsonIsAnErrorNotACrash) {
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  EXPECT_THAT(llama_error(R"("vocab_size": )" + deep), HasSubstr("vocab_size is an array"));
}

ModelConfig uneven_config() {
  ModelConfig config =
      llama(R"("num_key_value_heads": 2, "rope_scaling": {"type": "linear", "factor": 3.3})");
  config.name = "a \"name\" \xc3\xa9";
  config.layers[1] = {.heads = 2, .kv_heads = 1, .head_dim = 16, .ffn = 80, .window = 32};
  config.norm_epsilon = 9.999999747378752e-06;
  config.rope_theta = 1e6 / 3;
  config.tied_head = config.o_bias = config.qk_norm = true;
  return config;
}

TEST(ConfigJson, RoundTripIsExact) {
  const ModelConfig config = uneven_config();
  EXPECT_EQ(config_from_json(config_to_json(config)), config);
  ModelConfig other = config;
  other.rope_theta = std::nextafter(other.rope_theta, 2e6);
  EXPECT_NE(config_from_json(config_to_json(other)), config);
}

// What packed files of version 1 hold, and what Llama's still hold.
TEST(ConfigJson, AbsentFieldsHaveTheirValueInLlama) {
  const std::string text =
      R"({"context":64,"family":"llama","hidden":32,"layers":[{"ffn":64,"head_dim":8,"heads":4,"kv_heads":2,)"
      R"("window":0}],"mlp_bias":false,"name":"","o_bias":false,"qk_norm":false,"qkv_bias":false,)"
      R"("rms_epsilon":1e-05,"rope_divisors":[],"rope_theta":10000.0,"tied_head":true,"vocab":40})";
  const ModelConfig config = config_from_json(text);
  EXPECT_EQ(config.norm, NormKind::rms);
  EXPECT_TRUE(config.pre_norm && config.gated_mlp && !config.post_norm);
  EXPECT_EQ(config_to_json(config), text);
}

TEST(ConfigJson, EveryPieceOfAFamilySurvives) {
  ModelConfig config = uneven_config();
  config.norm = NormKind::layer;
  config.post_norm = config.joint_qk_norm = true;
  config.gated_mlp = false;
  config.residual = Residual::parallel_shared;
  config.nonlinearity = Nonlinearity::gelu_erf;
  config.rotary_dims = 8;
  config.rope_divisors = {1, 2, 3, 4};
  config.long_rope_divisors = {5, 6, 7, 8};
  config.original_context = 32;
  config.rope_scale = 1.1;
  config.local_rope_theta = 123;
  config.embedding_scale = 2;
  config.residual_scale = 0.3;
  config.logit_divisor = 4;
  config.attention_scale = 0.7;
  config.attention_soft_cap = 50;
  config.logit_soft_cap = 30;
  EXPECT_EQ(config_from_json(config_to_json(config)), config);
  config.pre_norm = false;
  config.residual = Residual::sequential;
  config.learned_positions = true;
  EXPECT_EQ(config_from_json(config_to_json(config)), config);
}

TEST(ConfigJson, WhatThisBuildDoesNotKnowIsRefused) {
  const std::string text = config_to_json(uneven_config());
  EXPECT_THAT(error_of([&] { config_from_json("{\"mixture\":8," + text.substr(1)); }),
              HasSubstr("\"mixture\""));
  EXPECT_THAT(error_of([&] { config_from_json("{\"norm\":\"group\"," + text.substr(1)); }),
              AllOf(HasSubstr("\"group\""), HasSubstr("rms, layer")));
}

TEST(ConfigJson, DamageIsAnError) {
  EXPECT_THAT(error_of([] { config_from_json("{}"); }), HasSubstr("family"));
  EXPECT_THAT(error_of([] { config_from_json("["); }), HasSubstr("damaged"));
  std::string text = config_to_json(uneven_config());
  text.replace(text.find("\"head_dim\":16"), 13, "\"head_dim\":17");
  EXPECT_THAT(error_of([&] { config_from_json(text); }), HasSubstr("head_dim"));
}

TEST(ModelConfig, WeightCountCountsTablesAndLinearLayersOnce) {
  ModelConfig config = llama(R"("num_key_value_heads": 2)");
  // Per layer: q and o 64*64, k and v 32*64, gate, up and down 96*64.
  const int64_t layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64;
  EXPECT_EQ(config.weight_count(), 3 * layer + 2 * 100 * 64);
  config.tied_head = true;
  EXPECT_EQ(config.weight_count(), 3 * layer + 100 * 64);
}

TEST(ModelConfig, ValidateRefusesContradictions) {
  const auto refusal = [](auto&& spoil) {
    ModelConfig config = uneven_config();
    spoil(config);
    return error_of([&] { validate(config); });
  };
  EXPECT_THAT(refusal([](ModelConfig& c) { c.family = "bert"; }), HasSubstr("\"bert\""));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.layers.clear(); }), HasSubstr("number of layers is 0"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.layers[1].kv_heads = 0; }), HasSubstr("layer 1: kv_heads is 0"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.layers[1].window = -1; }), HasSubstr("window"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.rope_divisors.pop_back(); }), HasSubstr("7 rope divisors"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.rope_divisors[0] = std::numeric_limits<float>::quiet_NaN(); }),
              HasSubstr("divisor"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.rope_theta = std::nan(""); }), HasSubstr("theta"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.local_rope_theta = std::nan(""); }), HasSubstr("theta"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.rotary_dims = 7; }), HasSubstr("7 rotary dimensions"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.rotary_dims = 18; }), HasSubstr("up to head_dim 16"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.long_rope_divisors = c.rope_divisors; }),
              HasSubstr("original context length is 0"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.residual_scale = std::nan(""); }), HasSubstr("residual scale"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.logit_soft_cap = -1; }), HasSubstr("soft cap of logits is -1"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.gated_mlp = false; }), HasSubstr("without a gate"));
  EXPECT_THAT(refusal([](ModelConfig& c) {
                c.qk_norm = false;
                c.joint_qk_norm = true;
              }),
              HasSubstr("qk_norm"));
  EXPECT_THAT(refusal([](ModelConfig& c) {
                c.pre_norm = false;
                c.residual = Residual::parallel;
              }),
              HasSubstr("without a norm"));
  EXPECT_NO_THROW(validate(uneven_config()));
}

}  // namespace
}  // namespace edgeq
