// SPDX-License-Identifier: Apache-2.0
// Hugging Face folders written by edgeq, read back by its own reader; tests/interop holds them against the
// tools that they are written for.
#include "models/export_hf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "models/tokenizer_data.h"
#include "tests/models/tokenizer_cases.h"
#include "tests/models/toy_checkpoint.h"
#include "tests/support/message.h"
#include "tests/support/quantized_tiny.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A model in memory: codes by scheme, or f16.
class CodedToy final : public CodedModel {
 public:
  using SchemeOf = std::function<std::optional<QuantScheme>(const std::string&)>;

  CodedToy(ModelConfig config, const SchemeOf& scheme_of)
      : toy_(make_toy(config)), config_(std::move(config)), tokenizer_(golden_tokenizer("gpt2")) {
    for (const SiteShape& site : all_sites(config_))
      if (const auto scheme = scheme_of(site.name)) {
        QuantizedTensor q = random_codes(*scheme, site.rows, site.cols, codes.size() + 1);
        for (uint8_t& zero : q.zeros) zero = std::max<uint8_t>(zero, 1);
        codes.emplace(site.name, std::move(q));
      }
  }

  const std::string& path() const override { return path_; }
  const ModelConfig& config() const override { return config_; }
  Tokenizer tokenizer() const override { return Tokenizer::deserialize(tokenizer_.serialize()); }
  std::string provenance_json() const override { return "{}"; }
  WeightForm form(std::string_view site) const override {
    const Tensor& matrix = toy_.tensors.at(std::string(site));
    const auto found = codes.find(site);
    WeightForm form{.scheme = {}, .dtype = DType::f16, .rows = matrix.rows(), .cols = matrix.cols()};
    if (found != codes.end()) form.scheme = found->second.scheme;
    return form;
  }
  CodedWeight weight(std::string_view site) const override {
    if (const auto found = codes.find(site); found != codes.end())
      return {.codes = found->second, .kept = {}};
    return {.codes = {}, .kept = from_f32(toy_.tensors.at(std::string(site)), DType::f16)};
  }
  Tensor vector(std::string_view name) const override { return toy_.tensors.at(std::string(name)); }

  std::map<std::string, QuantizedTensor, std::less<>> codes;

 private:
  ToyModel toy_;
  ModelConfig config_;
  Tokenizer tokenizer_;
  std::string path_ = "toy";
};

ModelConfig config_of(const std::string& family) {
  ModelConfig config = toy_config(family);
  config.vocab = (int64_t(golden_tokenizer("gpt2").vocab_size()) + 31) / 32 * 32;  // a coded head packs rows
  return config;
}

CodedToy::SchemeOf linear(const QuantScheme& scheme) {
  return [=](const std::string& site) { return site == "embedding" ? std::nullopt : std::optional(scheme); };
}

// Every weight of the folder is what the model has: codes where it has codes, else the same floats.
void expect_same(const CodedToy& model, const Checkpoint& read, const HfOptions& options) {
  EXPECT_EQ(read.config(), model.config());
  EXPECT_EQ(read.tokenizer().data().end_tokens, model.tokenizer().data().end_tokens);
  for (const SiteShape& site : all_sites(model.config())) {
    const CodedWeight weight = model.weight(site.name);
    const bool as_codes = hf_form(options, site.name, model.form(site.name)).scheme.has_value();
    const auto codes = read.codes(site.name);
    ASSERT_EQ(codes.has_value(), as_codes) << site.name;
    if (codes) {
      EXPECT_TRUE(*codes == *weight.codes) << site.name;
      continue;
    }
    const Tensor expected = to_f32(from_f32(dequantize(weight, 0, weight.rows()), options.dtype).view());
    const Tensor loaded = read.load(site.name);
    EXPECT_EQ(std::memcmp(loaded.data(), expected.data(), size_t(expected.bytes())), 0) << site.name;
  }
  for (const VectorShape& vector : all_vectors(model.config())) {
    const Tensor loaded = read.load(vector.name), expected = model.vector(vector.name);
    EXPECT_EQ(std::memcmp(loaded.data(), expected.data(), size_t(expected.bytes())), 0) << vector.name;
  }
}

void expect_round_trip(const CodedToy& model, const HfOptions& options) {
  const TempDir dir;
  const std::string folder = dir.file("out");
  EXPECT_GT(export_hf(model, folder, options), 0);
  EXPECT_EQ(dir.entries(), 1u);
  expect_same(model, *open_checkpoint(folder), options);
}

TEST(ExportHf, EveryLayoutReadsBackCodeForCode) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    const ModelConfig config = config_of(family);
    const CodedToy four(config, linear({.bits = 4, .group = 16}));
    for (const HfLayout layout :
         {HfLayout::floats, HfLayout::gptq, HfLayout::gptq_v2, HfLayout::awq, HfLayout::compressed})
      expect_round_trip(four, {.layout = layout});
    const CodedToy asymmetric(config, linear({.bits = 4, .group = 16, .zero = Zero::integer}));
    for (const HfLayout layout : {HfLayout::gptq, HfLayout::gptq_v2, HfLayout::awq, HfLayout::compressed})
      expect_round_trip(asymmetric, {.layout = layout});
    const CodedToy eight(config, linear({.bits = 8, .store = ScaleStore::f32}));
    for (const HfLayout layout : {HfLayout::compressed, HfLayout::compressed_w8a8})
      expect_round_trip(eight, {.layout = layout});
  }
}

// q, k and v of GPT-NeoX lie head by head in one matrix, whose codes have to move with their rows.
TEST(ExportHf, CodesOfGptNeoxReadBackInEveryLayout) {
  ModelConfig config = parse_hf_config(
      R"({"architectures": ["GPTNeoXForCausalLM"], "hidden_size": 32, "intermediate_size": 64, "vocab_size": 48,
          "num_hidden_layers": 2, "num_attention_heads": 4, "rotary_pct": 0.25, "max_position_embeddings": 128})");
  config.vocab = config_of("llama").vocab;
  const auto layers = [](const QuantScheme& scheme) {
    return [=](const std::string& site) {
      return site.starts_with("layers.") ? std::optional(scheme) : std::nullopt;
    };
  };
  const CodedToy symmetric(config, layers({.bits = 4, .group = 16}));
  const CodedToy asymmetric(config, layers({.bits = 4, .group = 16, .zero = Zero::integer}));
  for (const HfLayout layout : {HfLayout::gptq, HfLayout::gptq_v2, HfLayout::awq, HfLayout::compressed}) {
    expect_round_trip(symmetric, {.layout = layout});
    expect_round_trip(asymmetric, {.layout = layout});
  }
  expect_round_trip(CodedToy(config, layers({.bits = 8, .store = ScaleStore::f32})),
                    {.layout = HfLayout::compressed_w8a8});
}

TEST(ExportHf, FloatsHaveTheTypeThatIsAskedFor) {
  const CodedToy model(config_of("llama"),
                       [](const std::string&) { return QuantScheme{.bits = 4, .group = 16}; });
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32})
    expect_round_trip(model, {.layout = HfLayout::floats, .dtype = dtype});
  expect_round_trip(model, {.layout = HfLayout::gptq, .dtype = DType::f32});
}

TEST(ExportHf, LayersMayDifferWhereTheConfigCanSaySo) {
  ModelConfig config = config_of("llama");
  config.tied_head = false;
  const CodedToy model(config, [](const std::string& site) -> std::optional<QuantScheme> {
    if (site == "embedding" || site.ends_with("v_proj")) return std::nullopt;
    if (site.ends_with("down_proj")) return QuantScheme{.bits = 8, .group = 32};
    return QuantScheme{.bits = 4, .group = 16};
  });
  expect_round_trip(model, {.layout = HfLayout::gptq});
  expect_round_trip(model, {.layout = HfLayout::compressed});
  const TempDir dir;
  EXPECT_THAT(error_of([&] { export_hf(model, dir.file("out"), {.layout = HfLayout::awq}); }),
              HasSubstr("down_proj is int8-g32-sym: AWQ has 4-bit codes, not 8-bit"));
  const CodedToy groups(config, [](const std::string& site) -> std::optional<QuantScheme> {
    if (site == "embedding") return std::nullopt;
    return QuantScheme{.bits = 4, .group = site.ends_with("down_proj") ? 32 : 16};
  });
  EXPECT_THAT(error_of([&] { export_hf(groups, dir.file("out"), {.layout = HfLayout::awq}); }),
              HasSubstr("AWQ has one group size for the model"));
}

TEST(ExportHf, CutsLargeModelsIntoShards) {
  const CodedToy model(config_of("llama"), linear({.bits = 4, .group = 16}));
  const TempDir dir;
  const HfOptions options{.layout = HfLayout::compressed, .shard_bytes = 4096};
  export_hf(model, dir.file("out"), options);
  EXPECT_FALSE(std::filesystem::exists(dir.file("out/model.safetensors")));
  EXPECT_TRUE(std::filesystem::exists(dir.file("out/model.safetensors.index.json")));
  expect_same(model, *open_checkpoint(dir.file("out")), options);
}

TEST(ExportHf, RefusesByNameAndLeavesNothing) {
  const CodedToy model(config_of("llama"), linear({.bits = 4, .group = 32, .zero = Zero::offset}));
  const TempDir dir;
  EXPECT_EQ(error_of([&] { export_hf(model, dir.file("out"), {.layout = HfLayout::gptq}); }),
            dir.file("out") +
                ": layers.0.attn.q_proj is int4-g32-offset: GPTQ has integer zero points, not float "
                "offsets");
  CodedToy zero(config_of("llama"), linear({.bits = 4, .group = 16, .zero = Zero::integer}));
  zero.codes.find("layers.1.mlp.down_proj")->second.zeros[0] = 0;
  EXPECT_EQ(error_of([&] { export_hf(zero, dir.file("out"), {.layout = HfLayout::gptq}); }),
            dir.file("out") +
                ": layers.1.mlp.down_proj: row 0 has a zero point of 0, which GPTQ version 1 cannot "
                "store");
  const CodedToy floats(config_of("llama"), [](const std::string&) { return std::nullopt; });
  EXPECT_THAT(error_of([&] { export_hf(floats, dir.file("out"), {.layout = HfLayout::awq}); }),
              HasSubstr("no linear layer has codes"));
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(ExportHf, ReplacesAnExportAndNothingElse) {
  const CodedToy model(config_of("llama"), linear({.bits = 4, .group = 16}));
  const TempDir dir;
  const HfOptions options{.layout = HfLayout::gptq},
      replace{.layout = HfLayout::awq, .existing = OutputFile::Existing::replace};
  export_hf(model, dir.file("out"), options);
  EXPECT_THAT(error_of([&] { export_hf(model, dir.file("out"), options); }), HasSubstr("exists already"));
  export_hf(model, dir.file("out"), replace);
  expect_same(model, *open_checkpoint(dir.file("out")), replace);
  EXPECT_EQ(dir.entries(), 1u);
  std::filesystem::create_directory(dir.file("home"));
  dir.write("home/letter.txt", "kept");
  EXPECT_THAT(error_of([&] { export_hf(model, dir.file("home"), replace); }),
              HasSubstr("it is not replaced"));
  EXPECT_EQ(read_text_file(dir.path() / "home/letter.txt"), "kept");
}

TEST(ExportHf, TakesOverWhatAKilledRunLeft) {
  const CodedToy model(config_of("llama"), linear({.bits = 4, .group = 16}));
  const TempDir dir;
  std::filesystem::create_directories(dir.file("out.partial/deep"));
  dir.write("out.partial/model.safetensors", "half");
  export_hf(model, dir.file("out"), {.layout = HfLayout::gptq});
  EXPECT_EQ(dir.entries(), 1u);
  EXPECT_NO_THROW(open_checkpoint(dir.file("out")));
}

ModelConfig windowed(const std::string& family, std::vector<int64_t> windows) {
  ModelConfig config = toy_config(family);
  for (size_t i = 0; i < windows.size(); ++i) config.layers[i].window = windows[i];
  return config;
}

TEST(HfConfigJson, ReadsBackAsTheModelInEveryForm) {
  ModelConfig biased = toy_config("llama");
  biased.qkv_bias = biased.o_bias = biased.mlp_bias = true;
  ModelConfig linear_rope = toy_config("llama");
  linear_rope.rope_divisors.assign(4, 2.5f);
  const ModelConfig llama3 = parse_hf_config(
      R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "vocab_size": 8, "intermediate_size": 8,
          "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 131072, "rope_theta": 5e5,
          "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                           "original_max_position_embeddings": 8192}})");
  const TokenizerData tokenizer = golden_tokenizer("gpt2").data();
  for (const ModelConfig& config :
       {toy_config("llama"), toy_config("qwen2"), toy_config("qwen3"), biased, linear_rope, llama3,
        windowed("llama", {16, 16}), windowed("qwen2", {0, 16}), windowed("qwen3", {16, 0})}) {
    const std::string json = hf_config_json(config, tokenizer, DType::bf16, "");
    EXPECT_EQ(parse_hf_config(json), config) << json;
    EXPECT_THAT(json, HasSubstr("\"torch_dtype\": \"bfloat16\""));
  }
}

// The models of tests/golden/logits: every family, and forms of it.
std::vector<std::string> golden_models() {
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(EDGEQ_SOURCE_DIR "/tests/golden/logits"))
    if (std::filesystem::exists(entry.path() / "config.json")) folders.push_back(entry.path().string());
  std::ranges::sort(folders);
  return folders;
}

TEST(HfConfigJson, ReadsBackAsTheModelInEveryFamily) {
  const TokenizerData tokenizer = golden_tokenizer("gpt2").data();
  EXPECT_GE(golden_models().size(), 10u);
  for (const std::string& folder : golden_models()) {
    const ModelConfig config = parse_hf_config(read_text_file(folder + "/config.json"));
    EXPECT_EQ(parse_hf_config(hf_config_json(config, tokenizer, DType::f16, "")), config) << folder;
  }
}

// A checkpoint with another tokenizer.
class WithTokenizer final : public CodedModel {
 public:
  explicit WithTokenizer(const std::string& folder)
      : model_(coded_model(std::shared_ptr(open_checkpoint(folder)))) {}
  const std::string& path() const override { return model_->path(); }
  const ModelConfig& config() const override { return model_->config(); }
  Tokenizer tokenizer() const override { return golden_tokenizer("gpt2"); }
  std::string provenance_json() const override { return "{}"; }
  WeightForm form(std::string_view site) const override { return model_->form(site); }
  CodedWeight weight(std::string_view site) const override { return model_->weight(site); }
  Tensor vector(std::string_view name) const override { return model_->vector(name); }

 private:
  std::unique_ptr<CodedModel> model_;
};

TEST(ExportHf, EveryFamilyReadsBackFloatForFloat) {
  for (const std::string& golden : golden_models()) {
    if (!std::filesystem::exists(golden + "/model.safetensors")) continue;
    const WithTokenizer model(golden);
    const TempDir dir;
    export_hf(model, dir.file("out"), {.layout = HfLayout::floats, .dtype = DType::f32});
    const auto read = open_checkpoint(dir.file("out"));
    EXPECT_EQ(read->config(), model.config());
    for (const SiteShape& site : all_sites(model.config())) {
      const CodedWeight weight = model.weight(site.name);
      const Tensor expected = dequantize(weight, 0, weight.rows()), loaded = read->load(site.name);
      EXPECT_EQ(std::memcmp(loaded.data(), expected.data(), size_t(expected.bytes())), 0)
          << golden << " " << site.name;
    }
    for (const VectorShape& vector : all_vectors(model.config())) {
      const Tensor loaded = read->load(vector.name), expected = model.vector(vector.name);
      EXPECT_EQ(std::memcmp(loaded.data(), expected.data(), size_t(expected.bytes())), 0)
          << golden << " " << vector.name;
    }
  }
}

// Its linear layers on a grid.
class Rounded final : public CodedModel {
 public:
  explicit Rounded(const std::string& folder) : floats_(folder) {}
  const std::string& path() const override { return floats_.path(); }
  const ModelConfig& config() const override { return floats_.config(); }
  Tokenizer tokenizer() const override { return floats_.tokenizer(); }
  std::string provenance_json() const override { return "{}"; }
  WeightForm form(std::string_view site) const override {
    WeightForm form = floats_.form(site);
    if (site != "embedding" && site != "head") form.scheme = kScheme;
    return form;
  }
  CodedWeight weight(std::string_view site) const override {
    CodedWeight weight = floats_.weight(site);
    if (!form(site).scheme) return weight;
    return {.codes = round_to_grid(dequantize(weight, 0, weight.rows()), kScheme), .kept = {}};
  }
  Tensor vector(std::string_view name) const override { return floats_.vector(name); }

 private:
  static constexpr QuantScheme kScheme{.bits = 8, .group = 0, .store = ScaleStore::f32};
  WithTokenizer floats_;
};

TEST(ExportHf, MatricesThatLieTogetherReadBackCodeForCode) {
  for (const std::string name : {"phi4", "gpt-neox", "gemma2", "olmo2", "stablelm"}) {
    const Rounded model(EDGEQ_SOURCE_DIR "/tests/golden/logits/" + name);
    const TempDir dir;
    export_hf(model, dir.file("out"), {.layout = HfLayout::compressed});
    const auto read = open_checkpoint(dir.file("out"));
    for (const SiteShape& site : all_sites(model.config())) {
      if (!model.form(site.name).scheme) continue;
      const QuantizedTensor codes = *model.weight(site.name).codes;
      EXPECT_TRUE(read->codes(site.name) == codes) << name << " " << site.name;
      Tensor expected(DType::f32, {codes.rows, codes.cols});
      dequantize_into(codes, expected.matrix());
      const Tensor loaded = read->load(site.name);
      EXPECT_EQ(std::memcmp(loaded.data(), expected.data(), size_t(expected.bytes())), 0)
          << name << site.name;
    }
  }
}

TEST(ExportHf, RefusesCodesOfTransposedMatrices) {
  const Rounded model(EDGEQ_SOURCE_DIR "/tests/golden/logits/gpt2");
  const TempDir dir;
  EXPECT_THAT(error_of([&] { export_hf(model, dir.file("out"), {.layout = HfLayout::compressed}); }),
              HasSubstr("family gpt2 keeps its matrices transposed"));
}

TEST(HfConfigJson, RefusesAModelThatNoArchitectureDescribes) {
  const TokenizerData tokenizer = golden_tokenizer("gpt2").data();
  ModelConfig pruned = toy_config("llama");
  pruned.layers[1].ffn = 48;
  ModelConfig mixed = toy_config("qwen3");
  mixed.mlp_bias = true;
  for (const ModelConfig& config : {pruned, mixed, windowed("llama", {0, 16})})
    EXPECT_THAT(error_of([&] { hf_config_json(config, tokenizer, DType::f16, ""); }),
                HasSubstr("no Hugging Face architecture"));
}

// A tokenizer read from the files that were written gives the ids of the one that they were written from.
TEST(TokenizerJson, ReadsBackWithTheSameIds) {
  for (const std::string name : {"gpt2", "llama3", "qwen", "digits", "llama2", "metaspace", "spm_bytes"}) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    const Tokenizer again =
        Tokenizer::from_json(tokenizer_json(tokenizer.data()), tokenizer_config_json(tokenizer.data(), 2048));
    EXPECT_EQ(again.bos(), tokenizer.bos()) << name;
    EXPECT_EQ(again.adds_bos(), tokenizer.adds_bos()) << name;
    EXPECT_EQ(again.end_tokens(), tokenizer.end_tokens()) << name;
    for (const TokenizerCase& c : golden_cases(name)) {
      EXPECT_EQ(again.encode(c.text), tokenizer.encode(c.text)) << name << ": " << c.text;
      EXPECT_EQ(again.decode(c.plain), tokenizer.decode(c.plain)) << name << ": " << c.text;
    }
  }
}

TEST(TokenizerJson, KeepsTheChatTemplateAndTheEndTokens) {
  TokenizerData data = golden_tokenizer("gpt2").data();
  data.chat_template = "{{ 'a \"quoted\" text' }}\n";
  data.end_tokens = {3, 5};
  data.eos = 5;
  const std::string config = tokenizer_config_json(data, 2048);
  EXPECT_EQ(Tokenizer::from_json(tokenizer_json(data), config).chat_template(), data.chat_template);
  EXPECT_THAT(generation_config_json(data), HasSubstr("\"eos_token_id\": [\n    3,\n    5\n  ]"));
}

TEST(TokenizerJson, RefusesWhatTheFileHasNoPlaceFor) {
  EXPECT_EQ(error_of([] { tokenizer_json(golden_tokenizer("spm_map").data()); }),
            "tokenizer.json has no place for the tokenizer's SentencePiece normalization");
  TokenizerData twice = golden_tokenizer("gpt2").data();
  twice.tokens[7] = twice.tokens[8];
  EXPECT_THAT(error_of([&] { tokenizer_json(twice); }), HasSubstr("twice"));
  TokenizerData broken = golden_tokenizer("gpt2").data();
  broken.tokens[9] = "\xff";
  EXPECT_THAT(error_of([&] { tokenizer_json(broken); }), HasSubstr("not UTF-8"));
}

}  // namespace
}  // namespace edgeq
