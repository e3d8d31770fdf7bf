// SPDX-License-Identifier: Apache-2.0
// The binaries as a user meets them: what they print, how they exit, and what they leave on disk, on the
// model that the repository carries.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/cli/binaries.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// A copy of the small model that a test may damage.
class ModelCopy {
 public:
  ModelCopy() {
    fs::create_directories(path());
    for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"})
      fs::copy_file(kTiny + "/" + file, path() + "/" + file);
  }
  std::string path() const { return dir_.file("model"); }
  std::string file(const std::string& name) const { return path() + "/" + name; }
  std::string output(const std::string& name) const { return dir_.file(name); }
  void replace(const std::string& name, const std::string& from, const std::string& to) const {
    std::string text = read_text_file(file(name));
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    std::ofstream(file(name), std::ios::binary) << text.replace(at, from.size(), to);
  }

 private:
  TempDir dir_;
};

TEST(Cli, HelpSucceedsAndWrongUsageExitsWithTwo) {
  const Outcome help = edgeq("--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("quantize"), HasSubstr("Examples:")));
  for (const char* command : {"quantize", "export", "convert", "verify", "calibrate", "compare", "eval",
                              "run", "bench", "inspect", "list"})
    EXPECT_THAT(edgeq(std::string(command) + " --help").out, HasSubstr("Example")) << command;
  EXPECT_EQ(edgeq("").code, 2);
  EXPECT_EQ(edgeq("quantise x").code, 2);
  EXPECT_EQ(edgeq("bench x --tokens many").code, 2);
  EXPECT_EQ(edgeq("eval x --text y --context 1").code, 2);
}

TEST(Cli, CompletionsAreABashScript) {
  const Outcome check = run(kEdgeq + " completions | bash -n");
  EXPECT_EQ(check.code, 0) << check.err;
  EXPECT_THAT(edgeq("completions").out, AllOf(HasSubstr("--calibration"), HasSubstr("quantize")));
}

// Packed codes on the runtime against the same codes, dequantized, in LibTorch. With float activations only
// the order of sums differs; rounding activations to INT8 costs more than the bound, so the bound can fail.
TEST(Cli, PackedRuntimeAgreesWithLibTorchOnTheSameCodes) {
  const TempDir dir;
  const std::string packed = dir.file("tiny.packed");
  ASSERT_EQ(edgeq("quantize int4-rtn --model " + kTiny + " -o " + packed).code, 0);
  const auto divergence = [&](const std::string& activations) {
    const Outcome eval =
        edgeq("eval " + packed + " --against " + packed + " --against-engine torch --text " + kTiny +
              "/heldout.txt --context 128 --windows 4 --json --activations " + activations);
    EXPECT_EQ(eval.code, 0) << eval.err;
    return nlohmann::json::parse(eval.out)["kl_mean"].get<double>();
  };
  constexpr double kSameCodesKl = 1e-7;  // measured: 2e-9 with float, 3e-4 with INT8 activations
  EXPECT_LT(divergence("f32"), kSameCodesKl);
  EXPECT_GT(divergence("int8_block"), kSameCodesKl);
}

TEST(Cli, QuantizesRunsAndEvaluates) {
  const TempDir dir;
  const std::string packed = dir.file("tiny.packed");
  const Outcome made = edgeq("quantize int8 --model " + kTiny + " -o " + packed);
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_FALSE(fs::exists(packed + ".work")) << "a finished run leaves no journal";
  expect_error(edgeq("quantize int8 --model " + kTiny + " -o " + packed), "already exists");
  EXPECT_EQ(edgeq("quantize int8 --overwrite --model " + kTiny + " -o " + packed).code, 0);

  const Outcome verified = edgeq("inspect --verify --sites " + packed);
  EXPECT_THAT(verified.out, AllOf(HasSubstr("every checksum holds"), HasSubstr("layers.3.mlp.down_proj")));
  EXPECT_THAT(edgeq("run " + packed + " --prompt 'She was' --tokens 12 --greedy").out, StartsWith("She was"));

  const Outcome eval = edgeq("eval " + packed + " --text " + kTiny + "/heldout.txt --against " + kTiny +
                             " --context 128 --windows 4 --json");
  ASSERT_EQ(eval.code, 0) << eval.err;
  const auto json = nlohmann::json::parse(eval.out);
  for (const char* key : {"perplexity", "perplexity_all", "kl_mean", "kl_p99", "top1_agreement", "file_bytes",
                          "bits_per_weight", "peak_rss_bytes"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["file_bytes"], fs::file_size(packed));
  EXPECT_LT(json["kl_mean"],
            0.01);  // INT8 per channel: measured below 0.001; RTN INT2 below is the negative control
  EXPECT_GT(json["kl_mean"], 0);

  const Outcome bench =
      run(kEdgeqRun + " bench " + packed + " --prompt-tokens 16 --tokens 8 --repeats 1 --json");
  ASSERT_EQ(bench.code, 0) << bench.err;
  const auto speed = nlohmann::json::parse(bench.out);
  for (const char* key : {"prefill_tokens_per_second", "decode_tokens_per_second", "peak_rss_bytes"})
    EXPECT_GT(speed[key], 0) << key;
}

TEST(Cli, CalibratesOnItsOwnTextOrTheModelsWhenNoneIsGiven) {
  const TempDir dir;
  const std::string quantize = "quantize int4-gptq --windows 8 --model " + kTiny + " -o ";
  const Outcome plain = edgeq(quantize + dir.file("a.packed"));
  ASSERT_EQ(plain.code, 0) << plain.err;
  EXPECT_THAT(plain.out, HasSubstr("8 windows of 512 tokens of default\n"));
  const std::string recipe = dir.write("r.yaml",
                                       "calibration: {corpus: [default, self], windows: 4, tokens: 32}\n"
                                       "rules: [{match: \"*\", quantizer: gptq, scheme: int4-g64-sym}]\n");
  const auto make = [&](const std::string& name) {
    const Outcome own = edgeq("quantize " + recipe + " --model " + kTiny + " -o " + dir.file(name));
    EXPECT_EQ(own.code, 0) << own.err;
    EXPECT_THAT(own.out, HasSubstr("of default + self\n"));
    return read_text_file(dir.file(name));
  };
  EXPECT_EQ(make("b.packed"), make("c.packed")) << "what the model writes is the same each time";
}

TEST(Cli, ComparesModelsAndWarnsOfTextThatWasCalibratedOn) {
  const TempDir dir;
  const std::string text = kTiny + "/heldout.txt", a = dir.file("a.packed"), b = dir.file("b.packed");
  ASSERT_EQ(edgeq("quantize int4-rtn --model " + kTiny + " -o " + a).code, 0);
  const std::string recipe = dir.write(
      "r.yaml", "calibration: {corpus: \"" + text +
                    "\", windows: 4}\nrules: [{match: \"*\", quantizer: gptq, scheme: int4-g64-sym}]\n"
                    "prove: {corpus: \"" +
                    text + "\", context: 64, windows: 2, prompt_tokens: 8, tokens: 4}\n");
  const Outcome made = edgeq("quantize " + recipe + " --model " + kTiny + " --json -o " + b);
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_GT(nlohmann::json::parse(made.out).at("calibrated_share"), 0);
  const std::string compare = "compare " + a + " " + b + " --context 64 --windows 2 --text " + text;
  const Outcome table = edgeq(compare + " --against " + kTiny + " --html " + dir.file("c.html"));
  ASSERT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, AllOf(HasSubstr("tiny-llama"), HasSubstr("a.packed"), HasSubstr("b.packed")));
  EXPECT_THAT(read_text_file(dir.file("c.html")), HasSubstr("<svg"));
  const auto json = nlohmann::json::parse(edgeq(compare + " --json").out);
  EXPECT_EQ(json.at("reference"), "a.packed");
  EXPECT_GT(json.at("rows").at(1).at("kl_mean"), 0);
  expect_error(edgeq("compare " + a + " --text " + text), "one model alone");
  const std::string eval = " --json --context 64 --windows 1 --text " + text;
  EXPECT_EQ(nlohmann::json::parse(edgeq("eval " + b + eval).out).at("calibrated_on_text"), true);
  EXPECT_EQ(nlohmann::json::parse(edgeq("eval " + a + eval).out).at("calibrated_on_text"), false);
}

TEST(Cli, AProofThatCannotBeHadIsRefusedBeforeAnyWork) {
  const TempDir dir;
  const std::string text = kTiny + "/heldout.txt", out = dir.file("out.packed");
  const auto quantize = [&](const std::string& prove) {
    const std::string recipe = dir.write(
        "r.yaml", "rules: [{match: \"*\", quantizer: rtn, scheme: int4-g64-sym}]\nprove: " + prove + "\n");
    return edgeq("quantize " + recipe + " --overwrite --model " + kTiny + " -o " + out);
  };
  expect_error(quantize("{corpus: absent.txt}"), "absent.txt");
  expect_error(quantize("{corpus: \"" + text + "\", tasks: [absent.jsonl]}"), "absent.jsonl");
  expect_error(quantize("{corpus: \"" + text + "\", context: 1024}"),
               "windows of 1024 tokens; the model's context is 512");
  expect_error(quantize("{corpus: \"" + text + "\", tokens: 512}"), "times 512 tokens after a prompt");
  EXPECT_FALSE(fs::exists(out));
  // The 512 tokens of the measured prompt give way to what is generated after them.
  const Outcome short_context = quantize("{corpus: \"" + text + "\", windows: 1, tokens: 4}");
  EXPECT_EQ(short_context.code, 0) << short_context.err;
}

TEST(Cli, TasksAreScoredAndABadLineIsNamed) {
  const TempDir dir;
  const std::string items = std::string(EDGEQ_SOURCE_DIR) + "/tests/golden/tasks/items.jsonl";
  const std::string eval = "eval " + kTiny + " --engine runtime --json --tasks " + items;
  const Outcome one = edgeq(eval);
  ASSERT_EQ(one.code, 0) << one.err;
  const auto json = nlohmann::json::parse(one.out);
  for (const char* key : {"accuracy", "accuracy_norm", "stderr"}) {
    EXPECT_TRUE(json.at(key).is_number_float()) << key;
    EXPECT_EQ(json.at(key), json.at("tasks").at(0).at(key));
  }
  EXPECT_FALSE(json.contains("perplexity"));
  const Outcome two = edgeq(eval + " " + items + " --limit 4 --against " + kTiny);
  ASSERT_EQ(two.code, 0) << two.err;
  const auto both = nlohmann::json::parse(two.out);
  EXPECT_FALSE(both.contains("accuracy")) << "of which of the two?";
  EXPECT_EQ(both.at("tasks").size(), 2u);
  EXPECT_EQ(both.at("tasks").at(1).at("items"), 4);
  EXPECT_EQ(both.at("tasks").at(1).at("accuracy_difference"), 0);
  expect_error(edgeq("eval " + kTiny + " --tasks " + dir.write("bad.jsonl", "{}")),
               "bad.jsonl:1: no field \"query\"");
  EXPECT_EQ(edgeq("eval " + kTiny).code, 2) << "neither text nor tasks";
}

TEST(Cli, AReferenceMayDifferInItsChatTemplateButNotInItsTokens) {
  const std::string eval = "eval " + kTiny + " --engine runtime --context 64 --windows 1 --text " + kTiny +
                           "/heldout.txt --against ";
  const ModelCopy reference;
  reference.replace("tokenizer_config.json", "{", "{\"chat_template\": \"x\",");
  const Outcome same = edgeq(eval + reference.path());
  EXPECT_EQ(same.code, 0) << same.err;
  // Of another hash, as files made by other tools often are, and of the same tokens.
  reference.replace("tokenizer.json", "\"unk_token\": null", "\"unk_token\": \"Ġ\"");
  const Outcome idle = edgeq(eval + reference.path());
  EXPECT_EQ(idle.code, 0) << idle.err;
  const std::string first_merge = "\n      [\n        \"Ġ\",\n        \"t\"\n      ],";
  reference.replace("tokenizer.json", first_merge, "");
  expect_error(edgeq(eval + reference.path()), "different tokens");
}

TEST(Cli, GptqBeatsRoundToNearestAndIsTheSameForAnyNumberOfThreads) {
  const TempDir dir;
  const std::string common =
      " --model " + kTiny + " --windows 8 --calibration " + kTiny + "/calibration.txt -o ";
  ASSERT_EQ(edgeq("quantize int4-gptq --threads 1" + common + dir.file("one")).code, 0);
  ASSERT_EQ(edgeq("quantize int4-gptq --threads 2" + common + dir.file("two")).code, 0);
  EXPECT_EQ(read_text_file(dir.file("one")), read_text_file(dir.file("two")));
  ASSERT_EQ(edgeq("quantize int4-rtn" + common + dir.file("rtn")).code, 0);
  const auto divergence = [&](const std::string& file) {
    const Outcome o = edgeq("eval " + dir.file(file) + " --text " + kTiny + "/heldout.txt --against " +
                            kTiny + " --context 256 --windows 8 --json");
    return nlohmann::json::parse(o.out).at("kl_mean").get<double>();
  };
  EXPECT_LT(divergence("one"), divergence("rtn"));
}

TEST(Cli, AGgufHoldsTheVeryWeightsThatWereChosenForIt) {
  const TempDir dir;
  const std::string gguf = dir.file("tiny.gguf"),
                    text = " --text " + kTiny + "/heldout.txt --context 128 --windows 2";
  const Outcome made = edgeq("quantize int4-rtn --for gguf:q4_0 --model " + kTiny + " -o " + gguf);
  ASSERT_EQ(made.code, 0) << made.err;
  // The same codes packed, run with float activations: equal weights, so equal figures up to the engines'
  // rounding.
  const std::string recipe = dir.write("q4_0.yaml",
                                       "rules:\n  - {match: embedding, quantizer: rtn, scheme: q8_0}\n  - "
                                       "{match: \"*\", quantizer: rtn, scheme: q4_0}\n");
  ASSERT_EQ(edgeq("quantize " + recipe + " --model " + kTiny + " -o " + dir.file("tiny.packed")).code, 0);
  const Outcome o =
      edgeq("eval " + dir.file("tiny.packed") + text + " --against " + gguf + " --activations f32 --json");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_LT(nlohmann::json::parse(o.out).at("kl_mean"), 1e-6);
}

TEST(Cli, CodesGoFromToolToToolAndBack) {
  const TempDir dir;
  const std::string packed = dir.file("tiny.packed"), gguf = dir.file("tiny.gguf");
  ASSERT_EQ(edgeq("quantize int4-rtn --model " + kTiny + " -o " + packed).code, 0);
  const Outcome there = edgeq("export " + packed + " --to gguf -o " + gguf + " --json");
  ASSERT_EQ(there.code, 0) << there.err;
  const auto json = nlohmann::json::parse(there.out);
  EXPECT_TRUE(json.at("ran"));
  for (const auto& site : json.at("sites")) EXPECT_TRUE(site.at("exact")) << site;
  expect_error(edgeq("export " + packed + " --to gguf -o " + gguf), "already exists");
  EXPECT_EQ(edgeq("convert " + gguf + " --to packed --exact -o " + dir.file("back.packed")).code, 0);
  const Outcome verified = edgeq("verify " + gguf + " --against " + kTiny);
  EXPECT_EQ(verified.code, 0) << verified.err;
  EXPECT_THAT(verified.out, HasSubstr("mean KL divergence"));
  const std::string old = read_text_file(gguf);
  const Outcome full =
      run("ulimit -f 64; exec " + kEdgeq + " export " + packed + " --to gguf --overwrite -o " + gguf);
  expect_error(full, "tiny.gguf");
  EXPECT_EQ(read_text_file(gguf), old) << "a full disk leaves the old file";
  fs::resize_file(gguf, fs::file_size(gguf) - 100);
  expect_error(edgeq("verify " + gguf), "tiny.gguf");
}

TEST(Cli, AnArchiveIsProvedAndConvertedAndNotRun) {
  const TempDir dir;
  const std::string archive = dir.file("tiny.h5");
  const Outcome made = edgeq("quantize int4-rtn --for hdf5 --model " + kTiny + " --prove " + kTiny +
                             "/heldout.txt -o " + archive);
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_THAT(made.out,
              AllOf(HasSubstr("next         edgeq convert " + archive), Not(HasSubstr("packed file"))));
  for (const char* command : {"run --prompt x ", "inspect ", "eval --text x "}) {
    const Outcome o = edgeq(command + archive);
    expect_error(o, "tiny.h5");
    EXPECT_THAT(o.err, HasSubstr("edgeq convert FILE --to packed")) << command;
  }
  EXPECT_EQ(edgeq("convert " + archive + " --to packed --exact -o " + dir.file("tiny.packed")).code, 0);
}

TEST(Cli, AFolderIsCalledOneAndNamedAfterModelRecipeAndTarget) {
  const TempDir dir;
  fs::create_directory_symlink(kTiny, dir.file("Tiny-1.5B"));
  const Outcome made =
      run("cd " + dir.path().string() + " && " + kEdgeq +
          " quantize int4-rtn --for gptq:g32 --model Tiny-1.5B/ --prove Tiny-1.5B/heldout.txt");
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_THAT(made.out, AllOf(HasSubstr("folder       Tiny-1.5B-int4-rtn-gptq-g32"),
                              HasSubstr("next         edgeq run Tiny-1.5B-int4-rtn-gptq-g32 ")));
  EXPECT_TRUE(fs::exists(dir.file("Tiny-1.5B-int4-rtn-gptq-g32/config.json")));
  EXPECT_TRUE(fs::exists(dir.file("Tiny-1.5B-int4-rtn-gptq-g32.report.json")));
}

TEST(Cli, CachedStatisticsAreUsedAndThoseOfAnotherTextRefused) {
  const TempDir dir;
  const std::string stats = dir.file("stats.h5"), text = kTiny + "/calibration.txt";
  const Outcome cached =
      edgeq("calibrate " + kTiny + " --windows 4 --tokens 512 --text " + text + " -o " + stats);
  ASSERT_EQ(cached.code, 0) << cached.err;
  EXPECT_THAT(cached.out, HasSubstr("17 inputs, each from 2048 tokens"));
  const std::string quantize = "quantize int4-gptq --model " + kTiny + " --windows 4 --statistics " + stats;
  EXPECT_EQ(edgeq(quantize + " --calibration " + text + " -o " + dir.file("a.packed")).code, 0);
  expect_error(edgeq(quantize + " --calibration " + kTiny + "/heldout.txt -o " + dir.file("b.packed")),
               "stats.h5");
  expect_error(edgeq("calibrate " + kTiny + " --text " + text + " -o " + stats), "already exists");
}

TEST(Cli, AnInterruptLeavesNoOutputAndTheNextRunContinuesToTheSameBytes) {
  const TempDir dir;
  const std::string quantize =
      "quantize int4-gptq --model " + kTiny + " --windows 32 --calibration " + kTiny + "/calibration.txt -o ";
  ASSERT_EQ(edgeq(quantize + dir.file("straight")).code, 0);
  const std::string output = dir.file("resumed");
  const Outcome cut = edgeq_interrupted(quantize + output, output);
  if (cut.code == 0) GTEST_SKIP() << "the run finished before the signal reached it";
  EXPECT_EQ(cut.code, 130) << cut.err;
  EXPECT_THAT(cut.err, HasSubstr("interrupted"));
  EXPECT_FALSE(fs::exists(output));
  ASSERT_EQ(edgeq(quantize + output).code, 0);
  EXPECT_EQ(read_text_file(output), read_text_file(dir.file("straight")));
}

TEST(Cli, AFullDiskIsOneLineAndNoFile) {
  const TempDir dir;
  const std::string output = dir.file("out.packed");
  const Outcome full =
      run("ulimit -f 64; exec " + kEdgeq + " quantize int8 --model " + kTiny + " -o " + output);
  expect_error(full, "out.packed");
  EXPECT_FALSE(fs::exists(output));
}

TEST(Cli, AnOutputThatCannotBeWrittenIsNamed) {
  const TempDir dir;
  const std::string file = dir.write("file", "x");
  expect_error(edgeq("quantize int8 --model " + kTiny + " -o " + file + "/out.packed"), file);
}

TEST(Cli, BadModelsAreNamed) {
  expect_error(edgeq("inspect /nowhere"), "/nowhere");
  {
    const ModelCopy model;
    fs::resize_file(model.file("model.safetensors"), 100000);
    expect_error(edgeq("quantize int8 --model " + model.path() + " -o " + model.output("o")),
                 "model.safetensors");
    EXPECT_FALSE(fs::exists(model.output("o")));
  }
  {
    const ModelCopy model;
    model.replace("config.json", "\"hidden_size\": 192", "\"hidden_size\": 256");
    expect_error(edgeq("quantize int8 --model " + model.path() + " -o " + model.output("o")), "256");
  }
  {
    const ModelCopy model;
    model.replace("model.safetensors", "model.layers.2.mlp.up_proj", "model.layers.2.mlp.xp_proj");
    expect_error(edgeq("inspect " + model.path()), "model.layers.2.mlp.");
  }
  {
    const ModelCopy model;
    std::fstream stream(model.file("model.safetensors"), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(-2, std::ios::end);
    stream.write("\xff\x7f", 2);  // a bfloat16 NaN
    stream.close();
    expect_error(edgeq("quantize int8 --model " + model.path() + " -o " + model.output("o")), "nan");
    EXPECT_FALSE(fs::exists(model.output("o")));
  }
  {
    const ModelCopy model;
    fs::remove(model.file("tokenizer.json"));
    expect_error(edgeq("run " + model.path() + " --prompt x"), "tokenizer");
  }
}

TEST(Cli, BadTextsAndRecipesAreNamed) {
  const TempDir dir;
  const std::string empty = dir.write("empty.txt", ""), brief = dir.write("brief.txt", "Too short a text.");
  const std::string quantize =
      "quantize int4-gptq --model " + kTiny + " -o " + dir.file("o") + " --calibration ";
  expect_error(edgeq(quantize + empty), "empty.txt");
  expect_error(edgeq(quantize + brief), "brief.txt");
  expect_error(edgeq(quantize + dir.file("missing.txt")), "missing.txt");
  const std::string unknown = dir.write("unknown.yaml", "title: x\nrulez: []\n");
  expect_error(edgeq("quantize " + unknown + " --model " + kTiny), "unknown.yaml:2: unknown key rulez");
  const std::string idle =
      dir.write("idle.yaml", "rules:\n  - {match: \"*.up\", keep: f16}\n  - {match: \"*\", keep: f16}\n");
  expect_error(edgeq("quantize " + idle + " --model " + kTiny), "matches no site");
  const std::string group =
      dir.write("g.yaml", "rules:\n  - {match: \"*\", quantizer: rtn, scheme: int4-g128-sym}\n");
  expect_error(edgeq("quantize " + group + " --model " + kTiny), "group 128 does not divide 192 columns");
  expect_error(edgeq("quantize int9 --model " + kTiny), "int9");
}

TEST(Cli, ADamagedPackedFileIsRefused) {
  const TempDir dir;
  const std::string packed = dir.file("tiny.packed");
  ASSERT_EQ(edgeq("quantize int8 --model " + kTiny + " -o " + packed).code, 0);
  std::fstream stream(packed, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(-4096, std::ios::end);
  stream.write("damage", 6);
  stream.close();
  expect_error(edgeq("run " + packed + " --prompt x"), "tiny.packed");
  fs::resize_file(packed, fs::file_size(packed) / 2);
  expect_error(edgeq("inspect " + packed), "tiny.packed");
}

TEST(Cli, ADryRunPlansFromHeadersAndWritesNothing) {
  const TempDir dir;
  const Outcome plan =
      run("cd " + dir.path().string() + " && " + kEdgeq + " quantize int4-rtn --dry-run --model " + kTiny);
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr("layers.*.mlp.down_proj"), HasSubstr("rtn int4-g64-sym"),
                              HasSubstr("bits per weight")));
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(Cli, AFileKeepsWithinItsBudgetAndIsTheSameForAnyNumberOfThreads) {
  const TempDir dir;
  const std::string mixed = "quantize mixed --windows 2 --model " + kTiny + " --calibration " + kTiny +
                            "/calibration.txt --no-proof ";
  const Outcome one = edgeq(mixed + "--budget 900kB --threads 1 -o " + dir.file("one"));
  ASSERT_EQ(one.code, 0) << one.err;
  EXPECT_THAT(one.out, AllOf(HasSubstr("budget 900.0 kB: "), HasSubstr("predicted KL 0.0")));
  ASSERT_EQ(edgeq(mixed + "--budget 900kB --threads 2 -o " + dir.file("two")).code, 0);
  EXPECT_EQ(read_text_file(dir.file("one")), read_text_file(dir.file("two")));
  // What the header is reckoned to take at most is 2 % here, and a site's smallest step 1 %.
  EXPECT_LE(fs::file_size(dir.file("one")), 900000u);
  EXPECT_GE(fs::file_size(dir.file("one")), 865000u);
  const std::string gguf = dir.file("tiny.gguf");
  const Outcome made = edgeq(mixed + "--for gguf --budget 1100kB -o " + gguf);
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_LE(fs::file_size(gguf), 1100000u);
  EXPECT_GE(fs::file_size(gguf), 1050000u);
  expect_error(edgeq(mixed + "--budget 10kB"), "budget: 10.0 kB is below what the candidates take: ");
  expect_error(edgeq(mixed + "--budget 10MB"), "budget: 10.0 MB is above what the candidates take: ");
  expect_error(edgeq(mixed + "--budget tiny"), "--budget: bytes is \"tiny\"; expected a number and a unit");
  expect_error(
      edgeq("quantize int4 --budget 4bpw --model " + kTiny + " --calibration " + kTiny + "/calibration.txt"),
      "budget: no rule leaves it a choice");
}

}  // namespace
}  // namespace edgeq
