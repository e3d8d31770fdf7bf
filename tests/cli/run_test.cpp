// SPDX-License-Identifier: Apache-2.0
// `edgeq run`: prompt caches, speculation and conversations as a user meets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/cli/binaries.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string kPrompt = " --prompt 'She was a good girl, and the dog was a good dog, and she'";

Outcome generate(const std::string& options, int tokens = 40) {
  return run(kEdgeqRun + " run " + kTiny + kPrompt + " --tokens " + std::to_string(tokens) + " " + options);
}

class CliRun : public testing::Test {
 protected:
  TempDir dir_;
  std::string cache_ = dir_.file("prompt.kv");
};

TEST_F(CliRun, APromptCacheIsMadeOnceAndGivesTheSameText) {
  for (const std::string kv : {"", " --kv k8v8"}) {
    std::filesystem::remove(cache_);
    const Outcome without = generate("--greedy" + kv);
    const Outcome made = generate("--greedy --stats --prompt-cache " + cache_ + kv);
    const Outcome used = generate("--greedy --stats --prompt-cache " + cache_ + kv);
    EXPECT_EQ(without.code, 0) << without.err;
    EXPECT_EQ(made.out, without.out);
    EXPECT_EQ(used.out, without.out);
    EXPECT_THAT(made.err, testing::Not(testing::StartsWith("1 prompt tokens")));
    EXPECT_THAT(used.err, testing::StartsWith("1 prompt tokens"));
  }
}

TEST_F(CliRun, APromptThatOnlyBeginsAlikeUsesWhatIsTheSame) {
  generate("--greedy --prompt-cache " + cache_);
  const std::string other = " run " + kTiny + " --prompt 'She was a good girl, but' --tokens 20 --greedy";
  const Outcome plain = run(kEdgeqRun + other), cached = run(kEdgeqRun + other + " --prompt-cache " + cache_);
  EXPECT_EQ(cached.code, 0) << cached.err;
  EXPECT_EQ(cached.out, plain.out);
}

TEST_F(CliRun, AForeignOrDamagedPromptCacheIsRefusedAndLeftAlone) {
  generate("--greedy --prompt-cache " + cache_);
  expect_error(generate("--prompt-cache " + cache_ + " --kv f16"), "a prompt cache of kv f32; expected f16");
  const std::string packed = dir_.file("m.packed");
  ASSERT_EQ(edgeq("quantize int4-rtn --model " + kTiny + " -o " + packed).code, 0);
  expect_error(run(kEdgeqRun + " run " + packed + " --prompt x --prompt-cache " + cache_),
               "a prompt cache of model ");
  const std::string whole = read_text_file(cache_);
  const auto with = [&](const std::string& text) {
    std::ofstream(cache_, std::ios::binary) << text;
    return generate("--prompt-cache " + cache_);
  };
  expect_error(with(whole.substr(0, whole.size() - 100)), "prompt.kv: ");
  std::string damaged = whole;
  damaged[whole.size() - 9] = char(damaged[whole.size() - 9] ^ 1);
  expect_error(with(damaged), "the checksum does not match: the prompt cache is damaged");
  expect_error(with("no cache at all"), "prompt.kv: ");
  expect_error(run(kEdgeqRun + " run " + kTiny + kPrompt + " --prompt-cache " + kTiny + "/model.safetensors"),
               "expected a prompt cache");
  EXPECT_EQ(read_text_file(cache_), "no cache at all");
}

TEST_F(CliRun, SpeculationGivesTheSameTextAndReportsItself) {
  const Outcome plain = generate("--greedy", 120);
  const Outcome lookup = generate("--greedy --stats --lookup", 120);
  const Outcome draft = generate("--greedy --stats --draft " + kTiny, 120);
  EXPECT_EQ(plain.code, 0) << plain.err;
  EXPECT_EQ(lookup.out, plain.out) << lookup.err;
  EXPECT_EQ(draft.out, plain.out) << draft.err;
  EXPECT_THAT(lookup.err, HasSubstr("speculation: "));
  EXPECT_THAT(draft.err, AllOf(HasSubstr("guesses right (100 %)"), HasSubstr("tokens a round")));
}

TEST_F(CliRun, SpeculationWithSamplingIsRefused) {
  expect_error(generate("--lookup"), "speculation with sampling; expected greedy decoding");
  EXPECT_EQ(generate("--greedy --lookup --draft " + kTiny).code, 2);
}

}  // namespace
}  // namespace edgeq
