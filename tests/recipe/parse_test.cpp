// SPDX-License-Identifier: Apache-2.0
#include "recipe/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

constexpr const char* kWhole = R"(title: Mixed
model: ../model
output: out/m.packed
kv: k8v4
for: gguf:q8_0
calibration: {corpus: text.txt, windows: 8, tokens: 128, inputs: int8_token, statistics: stats.h5}
transforms: [smooth, {awq: {steps: 10}}]
rules:
  - {match: "head", keep: bf16}
  - match: "*"
    quantizer: gptq
    scheme: int4-g64-asym
    options: {damp: 0.05, order: none}
    correct: {strength: 0.25}
    refine: [polish, refit]
compare: [int8]
prove: {corpus: test.txt, windows: 3, context: 64, prompt_tokens: 5, tokens: 6, prompt: "a: b"}
)";

TEST(Recipe, EveryKeyIsRead) {
  const Recipe r = parse_recipe(kWhole, "folder/mixed.yaml");
  EXPECT_EQ(r.name, "mixed");
  EXPECT_EQ(r.title, "Mixed");
  EXPECT_EQ(r.model, "model");
  EXPECT_EQ(r.output, "folder/out/m.packed");
  EXPECT_EQ(kv_scheme_text(r.kv), "k8v4");
  EXPECT_EQ(r.target, "gguf:q8_0");
  EXPECT_THAT(r.calibration.corpus, testing::ElementsAre("folder/text.txt"));
  EXPECT_EQ(r.calibration.statistics, "folder/stats.h5");
  EXPECT_EQ(r.calibration.windows, 8);
  EXPECT_EQ(r.calibration.tokens, 128);
  ASSERT_EQ(r.transforms.size(), 2u);
  EXPECT_EQ(r.transforms[0].name, "smooth");
  EXPECT_EQ(r.transforms[1].name, "awq");
  EXPECT_EQ(r.transforms[1].options.values().at("steps"), "10");
  EXPECT_EQ(r.transforms[1].line, 7);
  EXPECT_EQ(r.calibration.inputs, Activations::int8_token);
  ASSERT_EQ(r.rules.size(), 2u);
  EXPECT_EQ(r.rules[0].keep, DType::bf16);
  EXPECT_EQ(r.rules[0].line, 9);
  EXPECT_EQ(r.rules[1].quantizer, "gptq");
  EXPECT_EQ(scheme_text(r.rules[1].schemes.at(0)), "int4-g64-asym");
  EXPECT_EQ(r.rules[1].options.values().at("damp"), "0.05");
  EXPECT_FALSE(r.rules[0].correct);
  EXPECT_EQ(r.rules[1].correct->values().at("strength"), "0.25");
  EXPECT_THAT(r.rules[1].refine, testing::ElementsAre("polish", "refit"));
  EXPECT_THAT(r.compare, testing::ElementsAre("int8"));
  EXPECT_EQ(r.prove.corpus, "folder/test.txt");
  EXPECT_EQ(r.prove.windows, 3);
  EXPECT_EQ(r.prove.context, 64);
  EXPECT_EQ(r.prove.prompt_tokens, 5);
  EXPECT_EQ(r.prove.tokens, 6);
  EXPECT_EQ(r.prove.prompt, "a: b");
  EXPECT_EQ(r.text, kWhole);
}

struct BadRecipe {
  const char* yaml;
  int line;
  const char* says;
};

class BadRecipes : public testing::TestWithParam<BadRecipe> {};

TEST_P(BadRecipes, NameTheLineAndTheOffender) {
  const BadRecipe& bad = GetParam();
  EXPECT_THAT([&] { parse_recipe(bad.yaml, "r.yaml"); },
              ThrowsMessage<Error>(
                  AllOf(StartsWith("recipe r.yaml:" + std::to_string(bad.line) + ": "), HasSubstr(bad.says))))
      << bad.yaml;
}

INSTANTIATE_TEST_SUITE_P(
    Recipe, BadRecipes,
    testing::Values(
        BadRecipe{"rules: []\n", 1, "no rules"},
        BadRecipe{"title: x\nruls: []\n", 2, "unknown key ruls in the recipe; did you mean rules?"},
        BadRecipe{"title: x\nexport: [gguf]\n", 2, "expected one of budget, calibration"},
        BadRecipe{"title: a\ntitle: b\n", 2, "key title appears twice"},
        BadRecipe{"- a\n- b\n", 1, "is not a map"},
        BadRecipe{"title: [a]\n", 1, "title is not a single value"},
        BadRecipe{"rules: 3\n", 1, "rules is not a list"},
        BadRecipe{"rules:\n  - {match: \"*\"}\n", 2, "neither keep nor quantizer"},
        BadRecipe{"rules:\n  - {keep: f16}\n", 2, "has no match"},
        BadRecipe{"rules:\n  - {match: x, keep: f64}\n", 2, "expected f32, f16 or bf16"},
        BadRecipe{"rules:\n  - {match: x, keep: f16, quantizer: rtn}\n", 2, "both keep and quantizer"},
        BadRecipe{"rules:\n  - {match: x, keep: f16, correct: {}}\n", 2, "both keep and correct"},
        BadRecipe{"rules:\n  - {match: x, refine: polish}\n", 2, "refine is not a list"},
        BadRecipe{"rules:\n  - {match: x, correct: 0.5}\n", 2, "correct is not a map"},
        BadRecipe{"rules:\n  - {match: x, quantizer: rtn, scheme: int4}\n", 2,
                  "scheme \"int4\" is not understood"},
        BadRecipe{"rules:\n  - {match: x, quantizer: rtn, schema: int4}\n", 2, "did you mean scheme?"},
        BadRecipe{"calibration:\n  inputs: int4\n", 2, "activations are \"int4\"; expected f32, int8_block"},
        BadRecipe{"transforms: smooth\n", 1, "transforms is not a list"},
        BadRecipe{"transforms: [{smooth: {}, awq: {}}]\n", 1, "a transform has 2 names; expected one"},
        BadRecipe{"transforms: [{smooth: 0.5}]\n", 1, "smooth is not a map"},
        BadRecipe{"for: onnx\n", 1, "target \"onnx\" is unknown; expected one of packed, gguf, gguf:q4_0"},
        BadRecipe{"title: x\nkv: k8v5\n", 2, "KV cache \"k8v5\"; expected f32, f16, or bits"},
        BadRecipe{"calibration:\n  windows: none\n", 2, "expected a whole number of at least 1"},
        BadRecipe{"calibration:\n  windows: 0\n", 2, "windows is \"0\""},
        BadRecipe{"calibration:\n  corpus: \"\"\n", 2, "corpus is empty"},
        BadRecipe{"calibration:\n  corpus: []\n", 2, "corpus is an empty list"},
        BadRecipe{"prove:\n  tasks: a.jsonl\n", 2, "tasks is not a list"},
        BadRecipe{"prove:\n  context: 99999999999999999999\n", 2, "context is"},
        BadRecipe{"title: x\nrules: a: b\n", 2, "illegal map value"}));

TEST(Recipe, CalibrationTextsAreAListOfPathsAndNames) {
  const Recipe r = parse_recipe(
      "calibration: {corpus: [a.txt, default, self]}\nrules: [{match: x, keep: f16}]\n"
      "prove: {tasks: [t.jsonl], task_items: 5}\n",
      "folder/r.yaml");
  EXPECT_THAT(r.calibration.corpus, testing::ElementsAre("folder/a.txt", "default", "self"));
  EXPECT_THAT(r.prove.tasks, testing::ElementsAre("folder/t.jsonl"));
  EXPECT_EQ(r.prove.task_items, 5);
}

TEST(Recipe, HostileYamlIsRefusedWithoutHarm) {
  EXPECT_THROW(parse_recipe("", "r.yaml"), Error);
  EXPECT_THROW(parse_recipe(std::string(2 << 20, 'a'), "r.yaml"), Error);
  EXPECT_THROW(parse_recipe(std::string("\x00\xff\xfe", 3), "r.yaml"), Error);
  EXPECT_THROW(parse_recipe("rules: &a [*a]", "r.yaml"), Error);
}

TEST(Recipe, BuiltInOnesParseAndTellWhatTheyAreFor) {
  ASSERT_FALSE(builtin_recipes().empty());
  for (const BuiltinRecipe& builtin : builtin_recipes()) {
    const Recipe recipe = load_recipe(std::string(builtin.name));
    EXPECT_EQ(recipe.name, builtin.name);
    EXPECT_TRUE(builtin.yaml.starts_with("# ")) << builtin.name;
    EXPECT_TRUE(recipe.model.empty()) << builtin.name << " must work on any model";
    EXPECT_EQ(recipe.rules.back().match, "*");
  }
}

TEST(Recipe, TheBestOfAWidthIsWhatItsBareNameMeans) {
  for (const std::string name : {"int4", "int3"}) {
    EXPECT_EQ(load_recipe(name + "-best").text, load_recipe(name).text);
    EXPECT_TRUE(load_recipe(name).rules.back().correct) << name;
  }
}

TEST(Recipe, EveryRecipeOfTheRepositoryParses) {
  for (const auto& file :
       std::filesystem::directory_iterator(std::string(EDGEQ_SOURCE_DIR) + "/configs/recipes"))
    EXPECT_NO_THROW(load_recipe(file.path().string())) << file.path();
}

TEST(Recipe, AnUnknownNameListsTheBuiltInOnes) {
  EXPECT_THAT([] { load_recipe("int5"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("int5"), HasSubstr("int4-gptq, int4-rtn"))));
}

TEST(Parse, ABudgetAndAListOfSchemesLeaveAChoice) {
  const Recipe r = parse_recipe(
      "budget: {bytes: 80.5 MB}\n"
      "rules:\n"
      "  - {match: \"*\", quantizer: gptq, scheme: [int3-g32-s8, iq4nl-g32-s8]}\n",
      "r.yaml");
  ASSERT_TRUE(r.budget.has_value());
  EXPECT_EQ(r.budget->bytes, 80500000);
  ASSERT_EQ(r.rules[0].schemes.size(), 2u);
  EXPECT_EQ(scheme_text(r.rules[0].schemes[1]), "iq4nl-g32-s8");
  const auto budget = [](const std::string& text) {
    return [text] { parse_recipe("budget: " + text + "\nrules: [{match: \"*\", keep: f16}]\n", "r.yaml"); };
  };
  EXPECT_THAT(budget("{bytes: 80 apples}"),
              ThrowsMessage<Error>("recipe r.yaml:1: bytes is \"80 apples\"; expected a number and a unit, "
                                   "such as 80MB or 1.5GB"));
  EXPECT_THAT(budget("{bits_per_weight: 33}"), ThrowsMessage<Error>(HasSubstr("bits_per_weight is \"33\"")));
  EXPECT_THAT(budget("{}"), ThrowsMessage<Error>(HasSubstr("budget needs one of bytes and bits_per_weight")));
  EXPECT_THAT(budget("{bytes: 80MB, bits_per_weight: 4}"),
              ThrowsMessage<Error>(HasSubstr("budget needs one of bytes and bits_per_weight")));
  EXPECT_THAT(budget("80MB"), ThrowsMessage<Error>(HasSubstr("budget is not a map")));
}

TEST(Budget, IsAQuantityOfBytesOrOfBits) {
  EXPECT_EQ(parse_bytes("80MB"), 80000000);
  EXPECT_EQ(parse_bytes("1.5 GB"), 1500000000);
  EXPECT_EQ(parse_bytes("640kB"), 640000);
  EXPECT_EQ(parse_bytes("123"), 123);
  EXPECT_EQ(parse_bytes("123 B"), 123);
  EXPECT_EQ(parse_budget("4.4bpw").bits_per_weight, 4.4);
  EXPECT_EQ(parse_budget("4 bpw").bits_per_weight, 4);
  EXPECT_EQ(parse_budget("80MB").bytes, 80000000);
  for (const char* text : {"", "MB", "-1MB", "0", "0.1 B", "80mb", "80M", "1e400", "nan", "inf GB", "9e9 GB",
                           "80MB ", "1e99", "bpw", "-4bpw", "nanbpw", "40bpw"})
    EXPECT_THROW(parse_budget(text), Error) << text;
}

}  // namespace
}  // namespace edgeq
