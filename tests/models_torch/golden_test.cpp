// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "core/parallel.h"
#include "models/torch/torch_model.h"
#include "tests/support/golden_logits.h"

namespace edgeq {
namespace {

// A checkpoint that claims another config than it has: negative controls.
class Misread final : public Checkpoint {
 public:
  Misread(std::unique_ptr<Checkpoint> real, ModelConfig config)
      : real_(std::move(real)), config_(std::move(config)) {}
  const std::string& path() const override { return real_->path(); }
  const ModelConfig& config() const override { return config_; }
  Tokenizer tokenizer() const override { return real_->tokenizer(); }
  std::string hash() const override { return real_->hash(); }
  int64_t file_bytes() const override { return real_->file_bytes(); }
  bool has(std::string_view name) const override { return real_->has(name); }
  Tensor load(std::string_view name) const override { return real_->load(name); }
  Tensor load_rows(std::string_view name, int64_t first, int64_t count) const override {
    return real_->load_rows(name, first, count);
  }
  std::string encoding(std::string_view name) const override { return real_->encoding(name); }

 private:
  std::unique_ptr<Checkpoint> real_;
  ModelConfig config_;
};

double difference(const Checkpoint& checkpoint, const GoldenLogits& golden) {
  const auto model = open_torch_model(checkpoint);
  const auto session = model->start({.max_tokens = std::ssize(golden.tokens)});
  return relative_difference(session->feed(golden.tokens, Logits::all), golden.logits.matrix());
}

double difference_when(const std::string& variant, void (*misread)(ModelConfig&)) {
  const GoldenLogits golden = read_golden(variant);
  auto real = open_checkpoint(golden.folder);
  ModelConfig config = real->config();
  misread(config);
  return difference(Misread(std::move(real), config), golden);
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, LogitsAreThoseOfTransformers) {
  const GoldenLogits golden = read_golden(GetParam());
  EXPECT_LE(difference(*open_checkpoint(golden.folder), golden), kLogitTolerance);
}

TEST_P(Golden, FeedingInPiecesGivesTheSameLogits) {
  const GoldenLogits golden = read_golden(GetParam());
  const auto model = open_torch_model(*open_checkpoint(golden.folder));
  const auto session = model->start({.max_tokens = std::ssize(golden.tokens)});
  const std::span<const TokenId> tokens = golden.tokens;
  session->feed(tokens.first(3), Logits::none);
  session->feed(tokens.subspan(5, 9), Logits::last);  // a wrong turn, taken back
  session->truncate(3);
  const int64_t pieces[] = {1, 2, 11, 1, 6};
  int64_t at = 3;
  for (const int64_t piece : pieces) {
    const auto logits = session->feed(tokens.subspan(size_t(at), size_t(piece)), Logits::all);
    EXPECT_LE(relative_difference(logits, golden.logits.matrix().slice_rows(at, piece)), kLogitTolerance);
    at += piece;
  }
  EXPECT_EQ(at, std::ssize(golden.tokens));
  EXPECT_EQ(session->length(), at);
}

TEST_P(Golden, TheWalkEndsInTheSameLogits) {
  const GoldenLogits golden = read_golden(GetParam());
  const auto model = open_torch_blockwise(open_checkpoint(golden.folder));
  const Ends ends = model->ends();
  State state = model->begin(golden.tokens, ends);
  for (int b = 0; b < std::ssize(model->config().layers); ++b) {
    const Block block = model->load(b);
    model->enter(block, state);
    for (int s = 0; s < std::ssize(block.stages); ++s) {
      for (const int site : block.stages[size_t(s)].sites)
        ASSERT_EQ(state.input.cols(), block.sites[size_t(site)].weight.cols())
            << block.sites[size_t(site)].name;
      model->step(block, s, state);
    }
  }
  model->finish(ends, state);

  const auto head = ends.head_site().weight.matrix();
  Tensor logits(DType::f32, golden.logits.shape());
  for (int64_t t = 0; t < logits.rows(); ++t)
    for (int64_t v = 0; v < head.rows; ++v) {
      double sum = 0;
      for (int64_t c = 0; c < head.cols; ++c) sum += double(state.input.matrix()(t, c)) * double(head(v, c));
      sum /= model->config().logit_divisor;
      if (const double cap = model->config().logit_soft_cap; cap != 0) sum = cap * std::tanh(sum / cap);
      logits.matrix()(t, v) = float(sum);
    }
  EXPECT_LE(relative_difference(logits.matrix(), golden.logits.matrix()), kLogitTolerance);
}

INSTANTIATE_TEST_SUITE_P(, Golden, testing::ValuesIn(golden_variants()), variant_test_name);

TEST(GoldenControl, IgnoringAFeatureOfAVariantIsSeen) {
  const auto no_change = [](ModelConfig&) {};
  EXPECT_LE(difference_when("llama", no_change), kLogitTolerance);
  EXPECT_GT(difference_when("llama", [](ModelConfig& c) { c.norm_epsilon = 1e-3; }), kLogitTolerance);
  EXPECT_GT(difference_when("llama-rope-llama3", [](ModelConfig& c) { c.rope_divisors.clear(); }),
            kLogitTolerance);
  EXPECT_GT(difference_when("llama-untied-linear", [](ModelConfig& c) { c.rope_divisors.clear(); }),
            kLogitTolerance);
  EXPECT_GT(difference_when("llama-untied-linear", [](ModelConfig& c) { c.tied_head = true; }),
            kLogitTolerance);
  EXPECT_GT(difference_when("llama-untied-linear", [](ModelConfig& c) { c.o_bias = c.mlp_bias = false; }),
            kLogitTolerance);
  EXPECT_GT(difference_when("mistral-window",
                            [](ModelConfig& c) {
                              for (LayerShape& layer : c.layers) ++layer.window;
                            }),
            kLogitTolerance);
  EXPECT_GT(difference_when("qwen2", [](ModelConfig& c) { c.qkv_bias = false; }), kLogitTolerance);
  EXPECT_GT(difference_when("qwen3", [](ModelConfig& c) { c.qk_norm = false; }), kLogitTolerance);
}

// One feature of each family, left out or changed by as little as a file could say.
TEST(GoldenControl, IgnoringAPieceOfAFamilyIsSeen) {
  struct Control {
    const char* variant;
    void (*misread)(ModelConfig&);
  };
  const Control controls[] = {
      {"gemma2", [](ModelConfig& c) { c.attention_soft_cap = 0; }},
      {"gemma2", [](ModelConfig& c) { c.logit_soft_cap = 0; }},
      {"gemma3-scaled", [](ModelConfig& c) { c.attention_scale = 0; }},
      {"gemma2", [](ModelConfig& c) { c.layers[0].window = 0; }},
      {"gemma2", [](ModelConfig& c) { c.nonlinearity = Nonlinearity::gelu_erf; }},
      {"gemma2", [](ModelConfig& c) { c.embedding_scale = 1; }},
      {"gemma3", [](ModelConfig& c) { c.local_rope_theta = 0; }},
      {"gemma3", [](ModelConfig& c) { c.rope_divisors.clear(); }},
      {"phi3-long", [](ModelConfig& c) { c.long_rope_divisors = c.rope_divisors; }},
      {"phi3-long", [](ModelConfig& c) { c.rope_scale = 1; }},
      {"phi4-mini-short", [](ModelConfig& c) { c.original_context = 20; }},
      {"phi4-mini-short", [](ModelConfig& c) { c.layers[1].window = 0; }},
      {"olmo2", [](ModelConfig& c) { c.qk_norm = c.joint_qk_norm = false; }},
      {"granite", [](ModelConfig& c) { c.embedding_scale = 1; }},
      {"granite", [](ModelConfig& c) { c.residual_scale = 1; }},
      {"granite", [](ModelConfig& c) { c.attention_scale = 0; }},
      {"granite", [](ModelConfig& c) { c.logit_divisor = 1; }},
      {"stablelm", [](ModelConfig& c) { c.rotary_dims = 0; }},
      {"stablelm-parallel", [](ModelConfig& c) { c.rotary_dims = 4; }},
      {"gpt-neox", [](ModelConfig& c) { c.residual = Residual::sequential; }},
      {"gpt-neox", [](ModelConfig& c) { c.residual = Residual::parallel_shared; }},
      {"gpt-neox", [](ModelConfig& c) { c.nonlinearity = Nonlinearity::gelu_tanh; }},
      {"gpt2", [](ModelConfig& c) { c.nonlinearity = Nonlinearity::gelu_erf; }},
      {"gpt2", [](ModelConfig& c) { c.learned_positions = false; }},
  };
  for (const Control& control : controls)
    EXPECT_GT(difference_when(control.variant, control.misread), kLogitTolerance)
        << control.variant << " " << &control - controls;
}

}  // namespace
}  // namespace edgeq
