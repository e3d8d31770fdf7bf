// SPDX-License-Identifier: Apache-2.0
#include "recipe/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "recipe/compress_site.h"
#include "recipe/parse.h"
#include "recipe/walk.h"
#include "tests/support/fake_model.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

ModelConfig config_of(bool tied) {
  ModelConfig config = tiny_config();
  config.hidden = 64;
  config.layers.assign(2, {.heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 96, .window = 0});
  config.tied_head = tied;
  return config;
}

Recipe recipe_of(const std::string& rules) {
  return parse_recipe("calibration: {corpus: text.txt}\nrules:\n" + rules, "r.yaml");
}

const std::string kGptq =
    "  - {match: \"head\", quantizer: gptq, scheme: int8-g32-sym}\n"
    "  - {match: \"embedding\", quantizer: rtn, scheme: int8-g32-sym}\n"
    "  - {match: \"*.down_proj\", keep: f16}\n"
    "  - {match: \"*\", quantizer: gptq, scheme: int4-g32-sym}\n";

Windows windows() {
  Windows w{.length = 24, .tokens = {}};
  for (int i = 0; i < 24 * 6; ++i) w.tokens.push_back(TokenId(i * 37 % 83));
  return w;
}

struct Loop {
  explicit Loop(bool tied = true, const std::string& rules = kGptq)
      : checkpoint(config_of(tied)), model(checkpoint), plan(make_plan(recipe_of(rules), checkpoint)) {}

  std::vector<PartResult> run(Journal& journal, const Progress& progress = {}) const {
    compress({.plan = plan, .model = model, .windows = text}, journal, progress);
    std::vector<PartResult> parts;
    for (const std::string& part : part_names(plan.config)) parts.push_back(journal.load(part));
    return parts;
  }

  TinyCheckpoint checkpoint;
  FakeModel model;
  Plan plan;
  Windows text = windows();
};

void expect_equal(const std::vector<PartResult>& a, const std::vector<PartResult>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t p = 0; p < a.size(); ++p) {
    ASSERT_EQ(a[p].sites.size(), b[p].sites.size());
    for (size_t s = 0; s < a[p].sites.size(); ++s) {
      EXPECT_EQ(a[p].sites[s].quantized, b[p].sites[s].quantized) << a[p].sites[s].name;
      EXPECT_EQ(a[p].sites[s].report.relative_error, b[p].sites[s].report.relative_error)
          << a[p].sites[s].name;
    }
  }
}

TEST(Compress, EverySiteBecomesWhatItsRuleSays) {
  const TempDir dir;
  for (bool tied : {true, false}) {
    Journal journal(dir.file(tied ? "tied" : "untied"), "key");
    const Loop loop(tied);
    std::map<std::string, SiteResult> sites;
    for (const PartResult& part : loop.run(journal))
      for (const SiteResult& site : part.sites) sites[site.name] = site;
    EXPECT_EQ(sites.size(), tied ? 15u : 16u);
    EXPECT_EQ(scheme_text(sites.at("layers.1.attn.q_proj").quantized->scheme), "int4-g32-sym");
    EXPECT_EQ(sites.at("layers.1.attn.q_proj").report.tokens, 24 * 6);
    EXPECT_FALSE(sites.at("layers.0.mlp.down_proj").quantized);
    EXPECT_EQ(sites.at("layers.0.mlp.down_proj").kept.dtype(), DType::f16);
    // A tied table answers to the rule for the head, and is calibrated as a head.
    EXPECT_EQ(sites.at("embedding").report.method, tied ? "gptq" : "rtn");
    EXPECT_EQ(sites.at("embedding").report.calibrated, tied);
    if (!tied) {
      EXPECT_TRUE(sites.at("head").report.calibrated);
    }
  }
}

void interrupt_after_first_block(const Loop& loop, Journal& journal) {
  const Progress stop_after_first_block = [](std::string_view step, int64_t done, int64_t) {
    if (step == "quantize" && done == 1) request_interrupt();
  };
  EXPECT_THROW(loop.run(journal, stop_after_first_block), Interrupted);
  clear_interrupt();
}

// What the loop makes: the same with 1 and 3 threads, and when an interrupted run is resumed.
std::vector<PartResult> run_reproducibly(const Loop& loop) {
  const TempDir dir;
  Journal one(dir.file("one"), "key"), three(dir.file("three"), "key"), resumed(dir.file("resumed"), "key");
  set_thread_count(1);
  auto serial = loop.run(one);
  set_thread_count(3);
  expect_equal(loop.run(three), serial);
  set_thread_count(2);
  interrupt_after_first_block(loop, resumed);
  expect_equal(loop.run(resumed), serial);
  return serial;
}

TEST(Compress, IsTheSameForAnyNumberOfThreads) {
  const TempDir dir;
  const Loop loop;
  Journal one(dir.file("one"), "key"), three(dir.file("three"), "key");
  set_thread_count(1);
  const auto serial = loop.run(one);
  set_thread_count(3);
  const auto parallel = loop.run(three);
  set_thread_count(2);
  expect_equal(serial, parallel);
}

TEST(Compress, AnInterruptedRunResumesToTheSameResult) {
  const TempDir dir;
  const Loop loop(false);
  Journal straight(dir.file("straight"), "key"), resumed(dir.file("resumed"), "key");
  const auto expected = loop.run(straight);
  interrupt_after_first_block(loop, resumed);
  EXPECT_TRUE(resumed.has("layers.0"));
  EXPECT_FALSE(resumed.has("layers.1"));
  expect_equal(loop.run(resumed), expected);
}

TEST(Compress, LaterBlocksSeeTheCompressedEarlierOnes) {
  const TempDir dir;
  Journal kept(dir.file("kept"), "key"), coarse(dir.file("coarse"), "key");
  const std::string last = "  - {match: \"*\", quantizer: gptq, scheme: int4-g32-sym}\n";
  const auto after_float = Loop(true, "  - {match: \"layers.0.*\", keep: f32}\n" + last).run(kept);
  const auto after_int2 =
      Loop(true, "  - {match: \"layers.0.*\", quantizer: rtn, scheme: int2-g32-sym}\n" + last).run(coarse);
  EXPECT_NE(after_float[2].sites[0].quantized, after_int2[2].sites[0].quantized);
}

const std::string kCorrected =
    "  - {match: \"*.k_proj\", keep: f16}\n"
    "  - {match: \"embedding\", quantizer: rtn, scheme: int8-g32-sym}\n"
    "  - {match: \"*\", quantizer: gptq, scheme: int3-g32-sym, correct: {strength: 0.5}}\n";

// Mean squared distance of the final hidden states of `parts` from the float model's.
double drift(const Loop& loop, const std::vector<PartResult>& parts) {
  Ends ends = loop.model.ends();
  Walk reference(loop.model, loop.text, ends);
  restore_site(parts[0].sites[0], ends.embedding);
  Walk now(loop.model, loop.text, ends);
  for (int b = 0; b < 2; ++b) {
    Block block = loop.model.load(b);
    reference.pass(block);
    for (Site& site : block.sites) restore_site(parts[size_t(b) + 1].site(site.name), site);
    now.pass(block);
  }
  double sum = 0;
  for (size_t w = 0; w < now.states().size(); ++w) {
    const Tensor &a = reference.states()[w].hidden, &b = now.states()[w].hidden;
    for (int64_t i = 0; i < a.size(); ++i) sum += std::pow(double(a.f32()[i]) - double(b.f32()[i]), 2);
  }
  return sum;
}

TEST(Compress, CorrectionKeepsTheModelCloserToTheFloatOne) {
  const TempDir dir;
  std::string plain = kCorrected;
  plain.erase(plain.find(", correct"), std::string(", correct: {strength: 0.5}").size());
  const Loop corrected(false, kCorrected), uncorrected(false, plain);
  EXPECT_TRUE(corrected.plan.needs_two_streams());
  EXPECT_FALSE(uncorrected.plan.needs_two_streams());
  Journal a(dir.file("a"), "key"), b(dir.file("b"), "key");
  const auto with = corrected.run(a), without = uncorrected.run(b);
  EXPECT_LT(drift(corrected, with), 0.95 * drift(uncorrected, without));
  EXPECT_GT(with[2].site("layers.1.mlp.down_proj").report.correction, 0);
  EXPECT_GT(with[3].site("head").report.correction, 0);
  EXPECT_EQ(without[2].site("layers.1.mlp.down_proj").report.correction, 0);
  EXPECT_EQ(with[2].site("layers.1.attn.k_proj").report.correction, 0) << "kept";
}

TEST(Compress, TwoStreamsGiveTheSameForAnyThreadsAndWhenResumed) {
  run_reproducibly(Loop(false, kCorrected));
}

TEST(Compress, TransformedBlocksAreTheSameForAnyThreadsAndWhenResumed) {
  Loop loop(false, kCorrected);
  Recipe recipe = loop.plan.recipe;
  recipe.transforms = {{.name = "smooth", .options = {}}, {.name = "awq", .options = {}}};
  loop.plan = make_plan(recipe, loop.checkpoint);
  const auto serial = run_reproducibly(loop);
  // The norms that ship are the transformed ones.
  const Tensor gain = loop.checkpoint.load("layers.1.attn_norm");
  const auto& shipped = serial[2].vectors[0];
  EXPECT_EQ(shipped.name, "layers.1.attn_norm");
  EXPECT_FALSE(std::equal(gain.f32(), gain.f32() + gain.size(), shipped.tensor.f32()));
}

// Inputs rounded to 8 bits are what codes are chosen for.
TEST(Compress, CalibratesOnInputsAsTheyWillBeRounded) {
  const TempDir dir;
  Loop loop(false, "  - {match: \"*.down_proj\", keep: f32}\n" + kCorrected);
  Journal plain(dir.file("plain"), "key"), rounded(dir.file("rounded"), "key"),
      resumed(dir.file("resumed"), "key");
  const auto before = loop.run(plain);
  Recipe recipe = loop.plan.recipe;
  recipe.calibration.inputs = Activations::int8_token;
  loop.plan = make_plan(recipe, loop.checkpoint);
  const auto after = loop.run(rounded);
  EXPECT_NE(after[2].site("layers.1.attn.q_proj").quantized,
            before[2].site("layers.1.attn.q_proj").quantized);
  interrupt_after_first_block(loop, resumed);
  expect_equal(loop.run(resumed), after);
}

// One scale for all that read an input, the same when the run is resumed; none for floats.
TEST(Compress, StaticScalesOfInputsAreKeptWithTheirSites) {
  const TempDir dir;
  const std::string rules =
      "  - {match: \"*.down_proj\", keep: f32}\n  - {match: \"*\", quantizer: rtn, scheme: "
      "int8-channel-sym}\n";
  for (const bool tied : {true, false}) {
    Loop loop(tied, rules);
    Recipe recipe = loop.plan.recipe;
    recipe.calibration.inputs = Activations::int8_static;
    loop.plan = make_plan(recipe, loop.checkpoint);
    Journal whole(dir.file(tied ? "t" : "u"), "key"), resumed(dir.file(tied ? "rt" : "ru"), "key");
    const auto parts = loop.run(whole);
    const auto scale = [&](size_t part, const char* site) { return parts[part].site(site).input_scale; };
    EXPECT_GT(scale(1, "layers.0.attn.q_proj"), 0);
    EXPECT_EQ(scale(1, "layers.0.attn.q_proj"), scale(1, "layers.0.attn.v_proj"));
    EXPECT_NE(scale(1, "layers.0.attn.q_proj"), scale(1, "layers.0.attn.o_proj"));
    EXPECT_NE(scale(1, "layers.0.attn.q_proj"), scale(2, "layers.1.attn.q_proj"));
    EXPECT_EQ(scale(1, "layers.0.mlp.down_proj"), 0);
    EXPECT_EQ(scale(0, "embedding") > 0, tied) << "a table that is the head reads rows too";
    if (!tied) {
      EXPECT_GT(scale(3, "head"), 0);
    }
    interrupt_after_first_block(loop, resumed);
    const auto again = loop.run(resumed);
    for (size_t p = 0; p < parts.size(); ++p)
      for (size_t s = 0; s < parts[p].sites.size(); ++s)
        EXPECT_EQ(again[p].sites[s].input_scale, parts[p].sites[s].input_scale) << parts[p].sites[s].name;
  }
}

TEST(Compress, WithoutNeedsTheModelIsNotWalked) {
  const TempDir dir;
  Journal journal(dir.file("j"), "key");
  Loop loop(true, "  - {match: \"*\", quantizer: rtn, scheme: int8-channel-sym}\n");
  loop.text = Windows();
  const auto parts = loop.run(journal);
  EXPECT_FALSE(parts[1].sites[0].report.calibrated);
  EXPECT_GT(parts[1].sites[0].report.relative_error, 0);
}

TEST(Compress, CachedStatisticsStandInForTheWalk) {
  const TempDir dir;
  const Loop loop;
  const StatsMap stats = float_statistics(loop.model, loop.text, kNeedHessian, {});
  EXPECT_EQ(stats.size(), 2 * 4 + 1u);
  Journal journal(dir.file("cached"), "key");
  compress({.plan = loop.plan, .model = loop.model, .windows = {}, .statistics = &stats}, journal, {});
  EXPECT_EQ(journal.load("layers.1").sites[0].report.tokens, 24 * 6);
  StatsMap missing = stats;
  missing.erase("layers.1.o");
  Journal other(dir.file("missing"), "key");
  EXPECT_THAT(
      [&] {
        compress({.plan = loop.plan, .model = loop.model, .windows = {}, .statistics = &missing}, other, {});
      },
      ThrowsMessage<Error>(HasSubstr("no input layers.1.o of width 64")));
}

TEST(Journal, PartsOfAnotherRunAreRefused) {
  const TempDir dir;
  const Journal first(dir.file("j"), "model a\n");
  EXPECT_NO_THROW(Journal(dir.file("j"), "model a\n"));
  EXPECT_THAT([&] { Journal(dir.file("j"), "model b\n"); },
              ThrowsMessage<Error>(HasSubstr("parts of another run")));
}

TEST(Journal, ADamagedPartIsNamed) {
  const TempDir dir;
  const Loop loop;
  Journal journal(dir.file("j"), "key");
  loop.run(journal);
  std::filesystem::resize_file(dir.file("j") + "/layers.1.safetensors", 1000);
  EXPECT_THAT([&] { journal.load("layers.1"); }, ThrowsMessage<Error>(HasSubstr("layers.1.safetensors")));
}

}  // namespace
}  // namespace edgeq
