// SPDX-License-Identifier: Apache-2.0
// What the runtime computes: float weights against the plain double-precision forward, packed weights against
// the same codes dequantized.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "runtime/kernels/kernel_table.h"
#include "runtime/packed_matrix.h"
#include "runtime/runtime.h"
#include "tests/runtime/variants.h"
#include "tests/support/golden_logits.h"
#include "tests/support/message.h"
#include "tests/support/quantized_tiny.h"
#include "tests/support/reference_forward.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using Rows = std::vector<std::vector<float>>;

Rows run(const LanguageModel& model, const std::vector<TokenId>& tokens) {
  return feed_in_pieces(*model.start({}), tokens, std::ssize(tokens));
}

// Largest difference as a share of the largest expected logit.
template <class Expected>
double relative_error(const Rows& found, const Expected& expected) {
  double error = 0, largest = 0;
  for (size_t t = 0; t < found.size(); ++t) {
    for (size_t i = 0; i < found[t].size(); ++i) {
      error = std::max(error, std::abs(double(found[t][i]) - expected[t][i]));
      largest = std::max(largest, std::abs(double(expected[t][i])));
    }
  }
  return error / largest;
}

// Float arithmetic: sums of at most 83 terms, each within 83 * 2^-24 = 5e-6 of its absolute sum, through two
// layers whose errors add and are amplified a few times by the norms. Measured: below 2e-6.
constexpr double kFloatError = 1e-5;

TEST(FloatRuntime, AgreesWithThePlainForwardOnEveryVariant) {
  for (const Variant& variant : variants()) {
    const TinyCheckpoint checkpoint(variant.config);
    const std::vector<TokenId> tokens = tokens_of(variant.config, 40);
    const auto expected = ReferenceForward(checkpoint)(tokens);
    for (const KernelTable* table : runnable_kernels()) {
      const auto model = open_float_runtime(checkpoint, {.threads = 2, .isa = table->isa});
      EXPECT_LT(relative_error(run(*model, tokens), expected), kFloatError)
          << variant.name << " on " << table->isa;
    }
  }
}

// Every family as transformers computes it, read from checkpoints on disk.
TEST(FloatRuntime, AgreesWithTransformersOnEveryGoldenModel) {
  for (const std::string& variant : golden_variants()) {
    const GoldenLogits golden = read_golden(variant);
    const auto checkpoint = open_checkpoint(golden.folder);
    for (const KernelTable* table : runnable_kernels()) {
      const auto model = open_float_runtime(*checkpoint, {.threads = 2, .isa = table->isa});
      const auto session = model->start({.max_tokens = std::ssize(golden.tokens)});
      EXPECT_LT(relative_difference(session->feed(golden.tokens, Logits::all), golden.logits.matrix()),
                kFloatError)
          << variant << " on " << table->isa;
    }
  }
}

// Negative control: the same check sees a model that differs in one feature only.
TEST(FloatRuntime, TheCheckSeesEveryFeatureThatIsLeftOut) {
  const std::vector<Variant> list = variants();
  const std::vector<TokenId> tokens = tokens_of(list[0].config, 40);
  const TinyCheckpoint plain(list[0].config);
  const auto model = open_float_runtime(plain, {.threads = 1});
  const Rows found = run(*model, tokens);
  for (size_t i = 1; i < list.size(); ++i)
    EXPECT_GT(relative_error(found, ReferenceForward(TinyCheckpoint(list[i].config))(tokens)), kFloatError)
        << list[i].name;
}

TEST(FloatRuntime, KeepsSixteenBitWeightsAsTheyAre) {
  const ModelConfig config = tiny_config();
  const TinyCheckpoint wide(config), narrow(config, 1, TinyCheckpoint::Values::bf16);
  const auto wide_model = open_float_runtime(wide, {.threads = 1});
  const auto narrow_model = open_float_runtime(narrow, {.threads = 1});
  EXPECT_LT(double(narrow_model->weight_bytes()), 0.51 * double(wide_model->weight_bytes()));
  const std::vector<TokenId> tokens = tokens_of(config, 20);
  EXPECT_LT(relative_error(run(*narrow_model, tokens), ReferenceForward(narrow)(tokens)), kFloatError);
}

TEST(FloatRuntime, ReadsOneRowOfAnUntiedTablePerToken) {
  ModelConfig config = tiny_config();
  const TinyCheckpoint tied(config);
  config.tied_head = false;
  const TinyCheckpoint untied(config);
  const auto a = open_float_runtime(tied, {.threads = 1}), b = open_float_runtime(untied, {.threads = 1});
  EXPECT_EQ(a->weight_bytes_per_token(), a->weight_bytes());
  EXPECT_EQ(b->weight_bytes_per_token(), a->weight_bytes());
  EXPECT_GT(b->weight_bytes(), a->weight_bytes());
}

QuantizedTiny::SchemeOf everywhere(const char* scheme) {
  return [scheme = parse_scheme(scheme)](const std::string&) { return scheme; };
}

// Inputs of 96 and 64 columns, which groups of 32 divide.
ModelConfig divisible_config() {
  ModelConfig config = tiny_config();
  config.hidden = 96;
  for (LayerShape& shape : config.layers) shape = {.heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 160};
  return config;
}

// Equal weights, equal order of the sums: equal bits, and no tolerance.
TEST(PackedRuntime, WithFloatActivationsEqualsTheDequantizedWeightsBitForBit) {
  const TempDir dir;
  const std::vector<TokenId> tokens = tokens_of(divisible_config(), 70);
  for (const char* scheme : {"int4-g32-sym", "int4-g32-asym", "int4-g32-offset", "int3-g32-sym",
                             "int2-g32-asym", "int8-channel-sym", "int5-channel-asym", "int8-g32-sym",
                             "iq4nl-g32", "iq4nl-g32-s8", "int4-g32-s8"}) {
    const QuantizedTiny checkpoint(divisible_config(), everywhere(scheme));
    const std::string path = dir.file(scheme);
    checkpoint.write(path);
    for (const KernelTable* table : runnable_kernels()) {
      const auto packed =
          open_packed_runtime(path, {.threads = 2, .activations = Activations::f32, .isa = table->isa});
      const auto floats = open_float_runtime(checkpoint, {.threads = 1, .isa = table->isa});
      EXPECT_EQ(run(*packed, tokens), run(*floats, tokens)) << scheme << " on " << table->isa;
    }
  }
}

TEST(PackedRuntime, RefusesGroupsThatNoKernelRuns) {
  const KernelTable& kernels = *runnable_kernels().front();
  const PackedWeight weight{
      .scheme = parse_scheme("q6_k"), .dtype = {}, .rows = 16, .cols = 256, .panels = {}};
  EXPECT_THAT(error_of([&] { PackedMatrix(weight, kernels); }), testing::HasSubstr("no kernel runs q6_k"));
}

// What quantizing activations to int8 costs on this model, as a share of the largest logit. Measured: 0.027
// per block, 0.033 per token (weights drawn at random make attention far touchier than a trained model's).
constexpr double kInt8ActivationError = 0.04;
// The same with static scales, 0.04 for all inputs but down_proj's 0.2: measured 0.080. With 0.04 for those
// too, which clips them: 0.36.
constexpr double kStaticActivationError = 0.1;

TEST(PackedRuntime, Int8ActivationsStayNearFloatOnes) {
  const TempDir dir;
  const QuantizedTiny checkpoint(divisible_config(), everywhere("int4-g32-sym"));
  checkpoint.write(dir.file("model"));
  const std::vector<TokenId> tokens = tokens_of(divisible_config(), 70);
  const auto expected = ReferenceForward(checkpoint)(tokens);
  for (const Activations mode : {Activations::int8_block, Activations::int8_token}) {
    const auto model = open_packed_runtime(dir.file("model"), {.threads = 2, .activations = mode});
    const double error = relative_error(run(*model, tokens), expected);
    EXPECT_LT(error, kInt8ActivationError);
    EXPECT_GT(error, kFloatError) << "activations were not quantized";
  }
}

TEST(PackedRuntime, StaticScalesAreThoseOfTheFile) {
  const TempDir dir;
  const QuantizedTiny checkpoint(divisible_config(), everywhere("int4-g32-sym"));
  const auto write = [&](const std::string& name, float of_down) {
    checkpoint.write(dir.file(name),
                     [=](const std::string& site) { return site.ends_with("down_proj") ? of_down : 0.04f; });
  };
  write("fitting", 0.2f);
  write("clipping", 0.04f);
  write("lacking", 0);
  const std::vector<TokenId> tokens = tokens_of(divisible_config(), 70);
  const auto expected = ReferenceForward(checkpoint)(tokens);
  const auto error = [&](const std::string& name, const RuntimeOptions& options) {
    return relative_error(run(*open_packed_runtime(dir.file(name), options), tokens), expected);
  };
  EXPECT_LT(error("fitting", {.threads = 2}), kStaticActivationError);
  EXPECT_GT(error("clipping", {.threads = 2}), kStaticActivationError);
  EXPECT_LT(error("clipping", {.threads = 2, .activations = Activations::int8_token}), kInt8ActivationError)
      << "other activations do not read the scales";
  EXPECT_THAT(error_of([&] { open_packed_runtime(dir.file("lacking"), {}); }),
              testing::HasSubstr("layers.0.mlp.down_proj has no input scale"));
}

// Negative control: one site whose weights are 5 % too large shows.
TEST(PackedRuntime, TheCheckSeesAScaleThatIsFivePercentOff) {
  const TempDir dir;
  const auto scheme = [](const std::string&) { return parse_scheme("int4-g32-sym"); };
  const QuantizedTiny checkpoint(divisible_config(), scheme);
  PackedWriter writer(dir.file("model"));
  for (const SiteShape& site : all_sites(checkpoint.config())) {
    QuantizedTensor q = round_to_grid(TinyCheckpoint(checkpoint.config()).load(site.name), scheme(""));
    if (site.name == "layers.0.mlp.down_proj" || site.name == "layers.1.mlp.down_proj")
      for (float& s : q.scales) s = round_to_f16(s * 1.05f);
    writer.add(site.name, q);
  }
  for (const VectorShape& vector : all_vectors(checkpoint.config())) {
    const Tensor values = checkpoint.load(vector.name);
    writer.add_vector(vector.name, {values.f32(), size_t(values.size())});
  }
  writer.finish(checkpoint.config(), std::vector<std::byte>(1), "{}");
  const std::vector<TokenId> tokens = tokens_of(divisible_config(), 70);
  const auto model = open_packed_runtime(dir.file("model"), {.threads = 1});
  EXPECT_GT(relative_error(run(*model, tokens), ReferenceForward(checkpoint)(tokens)), kInt8ActivationError);
}

TEST(PackedRuntime, MixesSchemesAndFloatSitesInOneLayer) {
  const TempDir dir;
  const QuantizedTiny checkpoint(
      divisible_config(), [](const std::string& site) -> std::optional<QuantScheme> {
        if (site.ends_with("v_proj") || site.ends_with("o_proj")) return std::nullopt;
        return parse_scheme(site == "embedding" || site.ends_with("q_proj") ? "int8-channel-sym"
                                                                            : "int4-g32-asym");
      });
  checkpoint.write(dir.file("model"));
  const std::vector<TokenId> tokens = tokens_of(divisible_config(), 70);
  const auto model = open_packed_runtime(dir.file("model"), {.threads = 2});
  EXPECT_LT(relative_error(run(*model, tokens), ReferenceForward(checkpoint)(tokens)), kInt8ActivationError);
}

}  // namespace
}  // namespace edgeq
