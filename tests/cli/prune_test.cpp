// SPDX-License-Identifier: Apache-2.0
// `edgeq prune` and the prune stage of recipes, on the model that the repository carries: 6 query heads on 2
// KV heads, 320 channels, 4 blocks.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "models/import.h"
#include "tests/cli/binaries.h"
#include "tests/cli/training.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string kPrune = "prune " + kTiny + " --windows 8 --calibration " + kTinyText + " ";

nlohmann::json report_of(const std::string& options, const std::string& output) {
  const Outcome made =
      edgeq(kPrune + options + " --json --prove " + kTinyHeldOut + " --prove-windows 4 -o " + output);
  EXPECT_EQ(made.code, 0) << made.err;
  return nlohmann::json::parse(made.out);
}

double kl_of(const nlohmann::json& report, const std::string& row) {
  for (const auto& r : report.at("rows"))
    if (r.at("name") == row) return r.at("kl_mean").get<double>();
  ADD_FAILURE() << "no row " << row;
  return 0;
}

TEST(Prune, AThirdOfTheHeadsGoesAndTheRestMakesUpForThem) {
  const TempDir dir;
  const std::string output = dir.file("pruned");
  const auto report = report_of("--heads 0.33", output);
  EXPECT_LT(kl_of(report, "cut, compensated"), 0.8 * kl_of(report, "plain cut"));
  EXPECT_EQ(report.at("pruning").at("heads").at("after"), 4);
  EXPECT_EQ(report.at("pruning").at("kv_heads").at("after"), 2);
  EXPECT_THAT(report.at("pruning").at("equal_bytes").get<std::string>(), HasSubstr("int8 in groups of 32"));
  EXPECT_THAT(read_text_file(output + ".report.html"),
              AllOf(HasSubstr("<svg"), HasSubstr("layer 3, head 5")));
  const auto config = nlohmann::json::parse(read_text_file(output + "/config.json"));
  EXPECT_EQ(config.at("num_attention_heads"), 4);
  EXPECT_EQ(config.at("num_key_value_heads"), 2);
  EXPECT_EQ(config.at("head_dim"), 32);
  EXPECT_EQ(config.at("torch_dtype"), "bfloat16") << "as the model is";
  EXPECT_FALSE(fs::exists(output + ".work"));
  expect_error(edgeq(kPrune + "--heads 0.33 -o " + output), "already exists");
  const Outcome gguf = edgeq("convert " + output + " --to gguf -o " + dir.file("pruned.gguf"));
  EXPECT_EQ(gguf.code, 0) << gguf.err;
  EXPECT_EQ(edgeq("run " + output + " --prompt 'She was' --tokens 4 --greedy").code, 0);
}

TEST(Prune, LayersKeepDifferentNumbersOfHeadsWhereThatIsAsked) {
  const TempDir dir;
  const std::string output = dir.file("pruned.gguf");
  const auto report = report_of("--heads 0.42 --per-layer", output);  // 10 of 24: no equal layers say that
  const auto& pruning = report.at("pruning");
  EXPECT_EQ(pruning.at("per_layer"), true);
  EXPECT_EQ(pruning.at("heads").at("before"), 24);
  EXPECT_EQ(pruning.at("heads").at("after"), 14);
  EXPECT_LT(kl_of(report, "cut, compensated"), kl_of(report, "plain cut"));
  const auto written = open_checkpoint(output);
  std::vector<int64_t> heads;
  for (const LayerShape& layer : written->config().layers) heads.push_back(layer.heads);
  EXPECT_EQ(std::accumulate(heads.begin(), heads.end(), int64_t(0)), 14);
  EXPECT_THAT(heads, testing::Contains(testing::Ne(heads[0])));
  expect_error(edgeq(kPrune + "--heads 0.42 --per-layer --for bf16 -o " + dir.file("folder")),
               "expected gguf:bf16");
  expect_error(edgeq(kPrune + "--per-layer --ffn 0.1 -o " + dir.file("none")), "no share of heads");

  // Healed and quantized in one recipe.
  const std::string recipe =
      dir.write("r.yaml",
                "prune: {heads: 0.42, per_layer: true}\nheal: {train: {tokens: 2000, batch: 2}}\n"
                "calibration: {windows: 4, tokens: 256}\n"
                "rules: [{match: \"*\", quantizer: rtn, scheme: int8-g32-sym}]\n");
  const std::string packed = dir.file("pruned.packed");
  const Outcome made =
      edgeq("quantize " + recipe + " --model " + kTiny + " --calibration " + kTinyText + " -o " + packed);
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(edgeq("run " + packed + " --prompt 'She was' --tokens 4 --greedy").code, 0);
}

TEST(Prune, ChannelsAndBlocksGoToo) {
  const TempDir dir;
  const auto narrow = report_of("--ffn 0.25", dir.file("narrow"));
  EXPECT_EQ(narrow.at("pruning").at("channels").at("after"), 256);
  EXPECT_LT(kl_of(narrow, "cut, compensated"), kl_of(narrow, "plain cut"));
  const auto flat = report_of("--blocks 0.25", dir.file("flat"));
  EXPECT_EQ(flat.at("pruning").at("blocks").at("after"), 3);
  EXPECT_EQ(flat.at("pruning").at("block_scores").size(), 4u);
  EXPECT_LT(kl_of(flat, "cut, compensated"), kl_of(flat, "plain cut"));
}

TEST(Prune, MasksLeaveTheirZerosInEveryMatrixOfTheLayers) {
  const TempDir dir;
  const auto report = report_of("--nm 2:4", dir.file("half"));
  EXPECT_LT(kl_of(report, "cut, compensated"), 0.8 * kl_of(report, "plain cut")) << "the same zeros";
  EXPECT_EQ(report.at("pruning").at("mask"), "2:4 by sparsegpt");
  EXPECT_EQ(report.at("pruning").at("weights").at("after"), report.at("pruning").at("weights").at("before"));
  ASSERT_EQ(report.at("pruning").at("zeros").size(), 4u * 7u);
  const auto written = open_checkpoint(dir.file("half"));
  for (const auto& zeros : report.at("pruning").at("zeros")) {
    EXPECT_EQ(zeros.at("share"), 0.5);
    const Tensor weight = written->load(zeros.at("site").get<std::string>());
    for (int64_t i = 0; i < weight.size(); i += 4)
      ASSERT_EQ(std::count(weight.f32() + i, weight.f32() + i + 4, 0.0f), 2) << zeros.at("site");
  }
  EXPECT_THAT(read_text_file(dir.file("half.report.html")),
              HasSubstr("zeros, 2:4 by sparsegpt: q_proj 50.0 %"));
  EXPECT_THAT(edgeq("list masks").out,
              AllOf(HasSubstr("sparsegpt"), HasSubstr("wanda"), HasSubstr("magnitude")));
}

TEST(Prune, MasksGoWithCutsAndNeedTextOnlyWhereTheyReadIt) {
  const TempDir dir;
  const Outcome both = edgeq(kPrune + "--heads 0.33 --sparsity 0.3 --mask wanda -o " + dir.file("both"));
  EXPECT_EQ(both.code, 0) << both.err;
  EXPECT_THAT(both.out, AllOf(HasSubstr("heads      4 of 6"), HasSubstr("zeros      0.3 by wanda"),
                              HasSubstr("down_proj 30.0 %")));
  const std::string plain = "prune " + kTiny + " --sparsity 0.5 --plain -o ";
  const Outcome blind = edgeq(plain + dir.file("blind") + " --mask magnitude");
  EXPECT_EQ(blind.code, 0) << blind.err;
  EXPECT_THAT(blind.out, Not(HasSubstr("calibration")));
  EXPECT_THAT(edgeq(plain + dir.file("wanda") + " --mask wanda").out, HasSubstr("calibration: "));
}

TEST(Prune, ABudgetIsMetByTheSmallestCutsThatFit) {
  const TempDir dir;
  const Outcome made = edgeq(kPrune + "--budget parameters=1.25M --of ffn --json -o " + dir.file("small"));
  ASSERT_EQ(made.code, 0) << made.err;
  const auto weights = nlohmann::json::parse(made.out).at("weights").get<int64_t>();
  EXPECT_LE(weights, 1'250'000);
  EXPECT_GT(weights, 1'250'000 - 64 * 192 * 3 * 4) << "one step of 64 channels in 4 layers";
  EXPECT_EQ(open_checkpoint(dir.file("small"))->config().weight_count(), weights);
  EXPECT_THAT(edgeq(kPrune + "--budget bytes=2MB --of heads,ffn,blocks --dry-run").out, HasSubstr("blocks"));
  EXPECT_THAT(edgeq(kPrune + "--budget macs=1.1M --heads 0.33 --dry-run").out,
              AllOf(HasSubstr("heads      4 of 6"), HasSubstr("channels")));
}

TEST(Prune, TokensThatATextDoesNotHaveGo) {
  const TempDir dir;
  const std::string words = read_text_file(kTinyHeldOut).substr(0, 3000);
  const std::string text = dir.write("words.txt", words), output = dir.file("trimmed");
  const Outcome made = edgeq("prune " + kTiny + " --vocab-unused --calibration " + text + " --prove " +
                             kTinyHeldOut + " --prove-windows 2 --json -o " + output);
  ASSERT_EQ(made.code, 0) << made.err;
  const auto report = nlohmann::json::parse(made.out);
  const int64_t tokens = report.at("pruning").at("tokens").at("after");
  EXPECT_LT(tokens, 1536);
  EXPECT_EQ(kl_of(report, "plain cut"), 0) << "the layers are what they were";
  const auto trimmed = open_checkpoint(output), whole = open_checkpoint(kTiny);
  EXPECT_EQ(trimmed->config().vocab, tokens);
  EXPECT_EQ(trimmed->tokenizer().vocab_size(), tokens);
  const auto ids = trimmed->tokenizer().encode(words), before = whole->tokenizer().encode(words);
  EXPECT_EQ(trimmed->tokenizer().decode(ids), words);
  ASSERT_EQ(ids.size(), before.size());
  const Tensor rows = trimmed->load("embedding"), all = whole->load("embedding");
  for (size_t i = 0; i < ids.size(); ++i)
    ASSERT_EQ(rows.matrix()(ids[i], 7), all.matrix()(before[i], 7)) << i;
  EXPECT_EQ(edgeq("run " + output + " --prompt 'She was' --tokens 4 --greedy").code, 0);
  EXPECT_EQ(edgeq("convert " + output + " --to gguf -o " + dir.file("trimmed.gguf")).code, 0);
  const Outcome both = edgeq(kPrune + "--vocab 0.25 --ffn 0.2 --dry-run");
  EXPECT_THAT(both.out, AllOf(HasSubstr("tokens     1152 of 1536"), HasSubstr("channels   256 of 320")));
}

TEST(Prune, EveryScoreCutsTheSameShape) {
  const TempDir dir;
  for (const char* score : {"taylor", "gate", "flap", "wanda", "magnitude"}) {
    const Outcome made =
        edgeq(fmt::format("{}--heads 0.33 --ffn 0.2 --score {} -o {}", kPrune, score, dir.file(score)));
    EXPECT_EQ(made.code, 0) << made.err;
    EXPECT_THAT(made.out, AllOf(HasSubstr("heads      4 of 6"), HasSubstr("channels   256 of 320")));
  }
  EXPECT_EQ(edgeq(kPrune + "--blocks 0.5 --block-score taylor --plain -o " + dir.file("b")).code, 0);
  EXPECT_THAT(edgeq("list pruners").out,
              AllOf(HasSubstr("taylor"), HasSubstr("obs"), HasSubstr("influence")));
}

TEST(Prune, AnInterruptedRunGoesOnToTheSameBytesForAnyNumberOfThreads) {
  const TempDir dir;
  const std::string options =
      "prune " + kTiny + " --heads 0.33 --ffn 0.2 --nm 2:4 --windows 16 --calibration " + kTinyText + " -o ";
  ASSERT_EQ(edgeq(options + dir.file("straight") + " --threads 1").code, 0);
  const std::string output = dir.file("resumed");
  const Outcome cut = edgeq_interrupted(options + output, output);
  if (cut.code == 0) GTEST_SKIP() << "the run finished before the signal reached it";
  EXPECT_EQ(cut.code, 130) << cut.err;
  EXPECT_FALSE(fs::exists(output));
  ASSERT_EQ(edgeq(options + output + " --threads 2").code, 0);
  EXPECT_EQ(read_text_file(output + "/model.safetensors"),
            read_text_file(dir.file("straight/model.safetensors")));
}

TEST(Prune, IsAStageOfARecipe) {
  const TempDir dir;
  const std::string recipe =
      dir.write("r.yaml", "calibration: {corpus: \"" + kTinyText +
                              "\", windows: 4}\nprune: {heads: 0.33, score: wanda}\n"
                              "rules: [{match: \"*\", quantizer: rtn, scheme: int8-g32-sym}]\n");
  const std::string packed = dir.file("pruned.packed");
  const Outcome planned = edgeq("quantize " + recipe + " --dry-run --model " + kTiny);
  EXPECT_EQ(planned.code, 0) << planned.err;
  const Outcome made = edgeq("quantize " + recipe + " --model " + kTiny + " -o " + packed);
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_FALSE(fs::exists(packed + ".prune.work"));
  EXPECT_THAT(edgeq("inspect --sites " + packed).out, HasSubstr("128 x 192"));
  const Outcome eval = edgeq("eval " + packed + " --text " + kTinyHeldOut + " --against " + kTiny +
                             " --context 128 --windows 2 --json");
  EXPECT_GT(nlohmann::json::parse(eval.out).at("kl_mean"), 0.001);
  const std::string fewer = dir.write(
      "v.yaml", "calibration: {corpus: \"" + kTinyText +
                    "\", windows: 2}\nprune: {vocab: 0.25}\n"
                    "rules: [{match: \"*\", quantizer: rtn, scheme: int8-g32-sym}]\nprove: {corpus: \"" +
                    kTinyHeldOut + "\", windows: 1, prompt_tokens: 8, tokens: 2}\n");
  const Outcome small = edgeq("quantize " + fewer + " --model " + kTiny + " -o " + dir.file("fewer.packed"));
  EXPECT_EQ(small.code, 0) << small.err;
  EXPECT_THAT(edgeq("inspect --sites " + dir.file("fewer.packed")).out, HasSubstr("1152 x 192"));
  const std::string by_budget = dir.write(
      "b.yaml",
      "prune: {budget: {parameters: 1.25M}, of: [ffn, heads]}\nrules: [{match: \"*\", keep: f16}]\n");
  EXPECT_THAT(edgeq("quantize " + by_budget + " --dry-run --model " + kTiny).out, HasSubstr("256"));
  const auto refused = [&](const std::string& stage) {
    const std::string bad =
        dir.write("bad.yaml", "prune: " + stage + "\nrules: [{match: \"*\", keep: f16}]\n");
    return edgeq("quantize " + bad + " --model " + kTiny + " -o " + dir.file("bad.packed"));
  };
  expect_error(refused("{heads: 0.33, score: wandb}"), "bad.yaml:1: unknown score \"wandb\"");
  expect_error(refused("{}"), "prune needs a share");
  expect_error(refused("{vocab: some}"), "bad.yaml:1: vocab is \"some\"");
  expect_error(refused("{budget: {}}"), "budget needs one of");
  expect_error(refused("{budget: {bytes: 2MB, macs: 1M}}"), "a budget has one of");
  expect_error(refused("{budget: {parameters: none}}"), "bad.yaml:1: a budget of parameters is \"none\"");
  expect_error(refused("{budget: {parameters: 1M}, of: [head]}"), "expected heads, ffn or blocks");
  expect_error(refused("{heads: 0.33, of: ffn}"), "there is none");
  expect_error(refused("{budget: {parameters: 1k}}"), "cannot be met");
  expect_error(refused("{nm: \"4:2\"}"), "bad.yaml:1: pattern is \"4:2\"");
  expect_error(refused("{sparsity: 1}"), "bad.yaml:1: sparsity is \"1\"");
  expect_error(refused("{sparsity: 0.5, nm: \"2:4\"}"), "both sparsity and nm");
  expect_error(refused("{heads: 0.33, mask: wanda}"), "expected sparsity or nm too");
  expect_error(refused("{sparsity: 0.5, mask: wandb}"), "bad.yaml:1: unknown mask \"wandb\"");
  expect_error(refused("{heads: nan}"), "bad.yaml:1");
  expect_error(refused("{heads: 0.17}"), "which no config says");
}

TEST(Prune, HealsWhatIsLeft) {
  const TempDir dir;
  const std::string output = dir.file("healed");
  const auto report = report_of("--heads 0.67 --heal 20000", output);
  EXPECT_LT(kl_of(report, "healed"), 0.9 * kl_of(report, "cut, compensated"));
  EXPECT_LT(kl_of(report, "cut, compensated"), 0.8 * kl_of(report, "plain cut"));
  for (const char* stage : {".work", ".heal.work"}) EXPECT_FALSE(fs::exists(output + stage)) << stage;
  expect_error(
      edgeq("prune " + kTiny + " --heads 0.67 --score magnitude --plain --heal 100 -o " + dir.file("no")),
      "the calibration text is \"default\"");
}

// Prunes, heals and quantizes in few steps.
std::string healing_recipe(const TempDir& dir, const std::string& more = "") {
  return dir.write("heal.yaml",
                   fmt::format("model: {}\ncalibration: {{corpus: {}, windows: 4}}\nprune: {{heads: 0.67}}\n"
                               "heal: {{data: {{length: 128}}, train: {{tokens: 16000, batch: 4, rate: 1e-3, "
                               "looks: 2, arithmetic: f32}}}}\n"
                               "rules: [{{match: \"*\", quantizer: gptq, scheme: int8-g32-sym}}]\n{}",
                               kTiny, kTinyText, more));
}

TEST(Prune, HealsAndQuantizesInOneRecipe) {
  const TempDir dir;
  const std::string packed = dir.file("healed.packed");
  const Outcome made =
      edgeq("quantize " + healing_recipe(dir, "prove: {corpus: " + kTinyHeldOut + ", windows: 4}\n") +
            " --json -o " + packed);
  ASSERT_EQ(made.code, 0) << made.err;
  const auto report = nlohmann::json::parse(made.out);
  EXPECT_LT(kl_of(report, "healed"), 0.95 * kl_of(report, "pruned"));
  EXPECT_NEAR(kl_of(report, "heal"), kl_of(report, "healed"), 0.1 * kl_of(report, "healed"))
      << "eight bits cost little";
  EXPECT_EQ(report.at("pruning").at("heads").at("after"), 2);
  EXPECT_LT(gained(report.at("healing")), 0.95);
  EXPECT_THAT(edgeq("inspect --sites " + packed).out, HasSubstr("64 x 192"));
  for (const char* stage : {".work", ".prune.work", ".heal.work"})
    EXPECT_FALSE(fs::exists(packed + stage)) << stage;
}

TEST(Prune, ARecipeInterruptedAfterHealingIsNotHealedAgain) {
  const TempDir dir;
  const std::string command = "quantize " + healing_recipe(dir) + " -o ";
  ASSERT_EQ(edgeq(command + dir.file("straight.packed")).code, 0);
  const std::string packed = dir.file("resumed.packed");
  const Outcome cut = edgeq_interrupted(command + packed, packed);
  if (cut.code == 0) GTEST_SKIP() << "the run finished before the signal reached it";
  EXPECT_EQ(cut.code, 130) << cut.err;
  EXPECT_FALSE(fs::exists(packed));
  const Outcome resumed = edgeq(command + packed);
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, Not(HasSubstr("train:"))) << "no step is left to take";
  EXPECT_TRUE(read_text_file(packed) == read_text_file(dir.file("straight.packed")));
}

TEST(Prune, HealsOnlyWhatWasCutAndOnTextThatIsThere) {
  const TempDir dir;
  const auto refused = [&](const std::string& stages) {
    const std::string bad = dir.write("bad.yaml", stages + "\nrules: [{match: \"*\", keep: f16}]\n");
    return edgeq("quantize " + bad + " --model " + kTiny + " -o " + dir.file("bad.packed"));
  };
  const std::string prune = "prune: {heads: 0.33, score: magnitude, compensate: false}\n";
  expect_error(refused("heal: {train: {tokens: 100}}"), "there is no prune");
  expect_error(refused(prune + "heal: {data: {length: 64}}"), "bad.yaml:2: there is no train");
  expect_error(refused(prune + "heal: {train: {tokens: 100}}"), "the calibration text is \"default\"");
  expect_error(refused(prune + "heal: {data: {texts: none.txt}, train: {tokens: 100}}"), "none.txt");
  expect_error(
      refused(prune + "heal: {data: {texts: " + kTinyText + ", length: 100000}, train: {tokens: 9}}"),
      "longer than the model's context of 512");
  EXPECT_FALSE(fs::exists(dir.file("bad.packed.prune.work"))) << "data are read before anything is cut";
}

TEST(Prune, WhatCannotBeIsOneLineAndNoFolder) {
  const TempDir dir;
  const std::string output = " -o " + dir.file("out");
  for (const char* share : {"0", "1", "-1", "nan", "inf"})
    for (const char* part : {"--heads", "--ffn", "--blocks"})
      expect_error(edgeq(fmt::format("{}{} {}{}", kPrune, part, share, output)), "expected");
  expect_error(edgeq(kPrune + "--heads 0.17" + output), "leaves 5, which no config says");
  expect_error(edgeq(kPrune + output), "nothing to prune");
  expect_error(edgeq(kPrune + "--heads 0.33 --score tailor" + output), "unknown score \"tailor\"");
  expect_error(edgeq(kPrune + "--heads 0.33 --for gptq" + output), "--for is gptq");
  for (const char* share : {"0", "1", "-1", "nan", "half", "2:4"})
    expect_error(edgeq(fmt::format("{}--sparsity {}{}", kPrune, share, output)), "expected a share of zeros");
  for (const char* pattern : {"4:2", "0:4", "0.5", "2:4:8"})
    expect_error(edgeq(fmt::format("{}--nm {}{}", kPrune, pattern, output)), "expected n:m");
  for (const char* share : {"0", "1", "nan", "half", "-1"})
    expect_error(edgeq(fmt::format("{}--vocab {}{}", kPrune, share, output)),
                 "expected `unused`, or a share");
  expect_error(edgeq(kPrune + "--vocab 0.99" + output), "have to stay");
  expect_error(edgeq(kPrune + "--vocab 0.5 --vocab-unused" + output), "expected one of the two");
  for (const char* budget : {"1M", "parameters=", "bytes=1M", "weights=1M", "macs=nan"})
    expect_error(edgeq(fmt::format("{}--budget {}{}", kPrune, budget, output)), "expected");
  expect_error(edgeq(kPrune + "--budget parameters=1k" + output),
               "cannot be met by cutting heads, ffn; the least is");
  expect_error(edgeq(kPrune + "--budget parameters=1G" + output), "nothing is to go");
  expect_error(edgeq(kPrune + "--budget parameters=1M --of head" + output), "expected heads, ffn or blocks");
  expect_error(edgeq(kPrune + "--of heads" + output), "expected a budget too");
  expect_error(edgeq(kPrune + "--budget parameters=1M --of ffn --ffn 0.2" + output),
               "both a share of ffn and a budget");
  expect_error(edgeq(kPrune + "--nm 2:5" + output), "layers.0.attn.q_proj: 2:5 does not divide 192 columns");
  expect_error(edgeq(kPrune + "--nm 2:4 --sparsity 0.5" + output), "expected one of the two");
  expect_error(edgeq(kPrune + "--nm 2:4 --heal 1000" + output), "zeros of a mask would be gone");
  expect_error(edgeq(kPrune + "--heads 0.33 --mask wanda" + output), "expected sparsity or nm too");
  expect_error(edgeq(kPrune + "--nm 2:4 --mask wandb" + output), "unknown mask \"wandb\"");
  expect_error(edgeq(kPrune + "--heads 0.33 --blocks 0.25 --score gate --block-score taylor" + output),
               "different losses");
  const std::string empty = dir.write("empty.txt", ""), brief = dir.write("brief.txt", "Too short.");
  for (const std::string& text : {empty, brief})
    expect_error(edgeq(fmt::format("prune {} --heads 0.33 --calibration {}{}", kTiny, text, output)),
                 fs::path(text).filename().string());
  expect_error(edgeq(kPrune + "--heads 0.33 --prove " + dir.file("missing.txt") + output), "missing.txt");
  EXPECT_FALSE(fs::exists(dir.file("out.work"))) << "what a proof reads is read before anything is cut";
  const std::string gpt2 = std::string(EDGEQ_SOURCE_DIR) + "/tests/golden/logits/gpt2";
  expect_error(edgeq("prune " + gpt2 + " --heads 0.5" + output), "no config of a gpt2 model says");
  const std::string olmo = std::string(EDGEQ_SOURCE_DIR) + "/tests/golden/logits/olmo2";
  expect_error(edgeq("prune " + olmo + " --heads 0.5" + output), "a head cannot go alone");
  EXPECT_FALSE(fs::exists(dir.file("out")));
  const Outcome full = run("ulimit -f 64; exec " + kEdgeq + " " + kPrune + "--heads 0.33" + output);
  expect_error(full, "out");
  EXPECT_FALSE(fs::exists(dir.file("out")));
}

}  // namespace
}  // namespace edgeq
