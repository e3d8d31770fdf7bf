// SPDX-License-Identifier: Apache-2.0
// --kv, and a recipe's kv:, as a user meets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/binaries.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CliKv : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome made = edgeq("quantize kv8 --model " + kTiny + " -o " + packed_);
    ASSERT_EQ(made.code, 0) << made.err;
  }
  std::string eval(const std::string& options) const {
    return "eval " + packed_ + " --text " + kTiny + "/heldout.txt --context 256 --windows 2 " + options;
  }

  TempDir dir_;
  std::string packed_ = dir_.file("kv8.packed");
};

TEST_F(CliKv, ARecipesChoiceIsTheFilesDefaultAndTheOptionGoesBeforeIt) {
  EXPECT_THAT(edgeq("inspect " + packed_).out, HasSubstr("kv cache     k8v8, "));
  const std::string bench = " bench " + packed_ + " --prompt-tokens 16 --tokens 2 --repeats 1 --json";
  const auto own = nlohmann::json::parse(run(kEdgeqRun + bench).out);
  const auto floats = nlohmann::json::parse(run(kEdgeqRun + bench + " --kv f32").out);
  EXPECT_EQ(own["kv"], "k8v8");
  EXPECT_EQ(floats["kv"], "f32");
  EXPECT_LT(own["kv_bytes_per_token"], 0.3 * floats["kv_bytes_per_token"].get<double>());
  EXPECT_EQ(nlohmann::json::parse(edgeq(eval("--json")).out)["kv"], "k8v8");
  EXPECT_EQ(edgeq("run " + packed_ + " --prompt 'She was' --tokens 4 --kv k4v4").code, 0);
}

TEST_F(CliKv, ASweepShowsWhatEachKindAdds) {
  const Outcome table = edgeq(eval("--kv sweep"));
  EXPECT_THAT(table.out,
              AllOf(HasSubstr("f16 "), HasSubstr("k8v8 "), HasSubstr("k8v4 "), HasSubstr("k4v4 ")));
  const auto rows = nlohmann::json::parse(edgeq(eval("--kv f32,f16,k8v8,k8v4,k4v4 --json")).out);
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0]["kl_mean"], 0);
  for (size_t i = 1; i < rows.size(); ++i) {
    EXPECT_GT(rows[i]["kl_mean"], rows[i - 1]["kl_mean"]) << rows[i]["kv"];
    EXPECT_LT(rows[i]["kv_bytes_per_token"], rows[i - 1]["kv_bytes_per_token"]) << rows[i]["kv"];
  }
  EXPECT_LT(rows[2]["kl_mean"], 0.002);  // the bars that docs/quality.md has for a larger model
  EXPECT_LT(rows[3]["kl_mean"], 0.008);
}

TEST_F(CliKv, EvalSaysWhatAWindowCostsAndOnlyTheRuntimeHasOne) {
  const auto kl = [&](const std::string& options) {
    const auto json = nlohmann::json::parse(edgeq(eval("--json --against " + packed_ + options)).out);
    return json["kl_mean"].get<double>();
  };
  EXPECT_EQ(kl(" --window 252"), 0);  // and 4 sinks: the window of the text
  const double wide = kl(" --window 128"), narrow = kl(" --window 32");
  EXPECT_GT(wide, 0);
  EXPECT_GT(narrow, wide);
  EXPECT_GT(kl(" --window 36 --sinks 0"), narrow);  // as many tokens, without the first
  expect_error(edgeq(eval("--window 64 --engine torch")),
               "the float engine sees all tokens, not the first 4 and the last 64");
  const auto bench = nlohmann::json::parse(
      run(kEdgeqRun + " bench " + packed_ + " --prompt-tokens 600 --tokens 2 --repeats 1 --window 64 --json")
          .out);
  EXPECT_EQ(bench["reach"], "the first 4 and the last 64");
}

TEST_F(CliKv, BadChoicesAreNamed) {
  expect_error(edgeq("run " + packed_ + " --prompt x --kv q8_0"), "KV cache \"q8_0\"; expected f32, f16, or");
  expect_error(edgeq("bench " + packed_ + " --kv k8"), "KV cache \"k8\"");
  expect_error(edgeq(eval("--kv k8v8,sweep")), "KV cache \"sweep\"");
  expect_error(edgeq(eval("--kv f16,k8v8 --against " + kTiny)), "they go with neither --against nor --tasks");
  expect_error(edgeq(eval("--kv k8v8 --engine torch")), "the float engine keeps keys and values as f32");
  const std::string recipe = dir_.write("r.yaml", "kv: int8\nrules:\n  - {match: \"*\", keep: f16}\n");
  expect_error(edgeq("quantize " + recipe + " --model " + kTiny), "r.yaml:1: KV cache \"int8\"");
}

}  // namespace
}  // namespace edgeq
