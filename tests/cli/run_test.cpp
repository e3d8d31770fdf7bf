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

// The context is 512 tokens.
TEST_F(CliRun, AWindowLetsTextGoOnBeyondTheContextAndSaysOnceWhatIsForgotten) {
  expect_error(generate("--greedy", 600), "a cache of ");
  const Outcome streamed = generate("--greedy --ids --window 64", 600);
  EXPECT_EQ(streamed.code, 0) << streamed.err;
  EXPECT_EQ(
      streamed.err,
      "warning: the text is longer than 68 tokens: from here on the first 4 and the last 64 are seen and "
      "the rest is forgotten\n");
  const Outcome covered = generate("--greedy --window 100 --sinks 0"), all = generate("--greedy");
  EXPECT_EQ(covered.out, all.out);
  EXPECT_EQ(covered.err, "");
  EXPECT_EQ(generate("--greedy --ids --window 64 --lookup", 600).out, streamed.out);
  EXPECT_EQ(generate("--greedy --ids --window 64 --draft " + kTiny, 600).out, streamed.out);
}

TEST_F(CliRun, AReachThatTheModelCannotHaveIsRefused) {
  expect_error(generate("--window 509"),
               "a window of 509 tokens and 4 sinks; expected at most the model's context of 512");
  for (const std::string wrong : {"--window 15", "--sinks 4", "--window 64 --sinks -1", "--window x"})
    EXPECT_EQ(generate(wrong).code, 2) << wrong;
}

TEST_F(CliRun, APromptCacheBelongsToItsReach) {
  generate("--greedy --window 64 --prompt-cache " + cache_);
  const Outcome used = generate("--greedy --stats --window 64 --prompt-cache " + cache_);
  EXPECT_EQ(used.out, generate("--greedy --window 64").out);
  EXPECT_THAT(used.err, HasSubstr("1 prompt tokens"));
  expect_error(generate("--prompt-cache " + cache_),
               "a prompt cache of reach the first 4 and the last 64; expected all");
  expect_error(generate("--window 64 --sinks 3 --prompt-cache " + cache_),
               "a prompt cache of reach the first 4 and the last 64; expected the first 3 and the last 64");
  const std::string other = dir_.file("long.kv");
  expect_error(run(kEdgeqRun + " run " + kTiny + " --window 16 --tokens 2 --prompt-cache " + other +
                   " --prompt \"$(head -c 600 " + kTinyHeldOut + ")\" >/dev/null"),
               "has given back what is behind its window; expected all of it");
  EXPECT_FALSE(std::filesystem::exists(other));
}

// tiny-llama with a template that spells out the whole history in words that the model knows.
class CliChat : public testing::Test {
 protected:
  void SetUp() override {
    set_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\\n{% endfor %}");
  }
  void set_template(const std::string& text) {
    std::filesystem::remove_all(model_);
    std::filesystem::copy(kTiny, model_);
    std::string config = read_text_file(model_ + "/tokenizer_config.json");
    config.insert(config.find('{') + 1, "\"chat_template\": \"" + text + "\",");
    std::filesystem::remove(model_ + "/tokenizer_config.json");
    std::ofstream(model_ + "/tokenizer_config.json", std::ios::binary) << config;
  }
  // A conversation of these lines. The last one has no newline: the end of the input ends it.
  Outcome talk(const std::string& lines, const std::string& options = "") const {
    return run("printf '" + lines + "' | " + kEdgeqRun + " run " + model_ + " --chat --greedy --tokens 6 " +
               options);
  }

  TempDir dir_;
  std::string model_ = dir_.file("model");
};

TEST_F(CliChat, AnswersEveryLineUpToTheEndOfTheInput) {
  const Outcome one = talk("She was a good girl"), two = talk("She was a good girl\n\nThe dog ran\n");
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_EQ(two.code, 0) << two.err;
  EXPECT_THAT(two.out, testing::StartsWith(one.out));  // an empty line is no turn
  EXPECT_GT(two.out.size(), one.out.size());
  EXPECT_EQ(talk("").out, "");
  EXPECT_EQ(talk("/quit\nShe was").out, "");
}

// The second turn's prompt has the first turn and its answer, of which the session computes nothing again.
TEST_F(CliChat, RemembersTheHistoryUntilItIsReset) {
  const Outcome alone = talk("The dog ran"), fresh = talk("She was a good girl\n/reset\nThe dog ran");
  EXPECT_THAT(fresh.out, testing::EndsWith(alone.out));
  const auto fed = [&](const std::string& lines) {  // prompt tokens of the last turn, those computed
    const std::string err = talk(lines, "--stats").err;
    const size_t last = err.rfind(" prompt tokens"), begin = err.rfind('\n', last);
    return last == std::string::npos ? -1 : std::stoi(err.substr(begin == std::string::npos ? 0 : begin + 1));
  };
  set_template("{% for m in messages %}{{ m.content }} {% endfor %}");
  const int short_turn = fed("dog"), third = fed("dog\ndog\ndog");
  EXPECT_GT(short_turn, 0);
  EXPECT_GT(third, 0);
  EXPECT_LT(third, 3 * short_turn + 12);  // the whole history is two answers of 6 tokens longer
  // What comes before the answer is what a single prompt of all turns would be.
  set_template("{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}");
  const Outcome talked = talk("She was\nThe dog");
  const std::string answer = talked.out.substr(0, talk("She was").out.size() - 1);
  set_template("{{ messages[-1].content }}");
  const Outcome whole =
      run(kEdgeqRun + " run " + model_ + " --chat --greedy --tokens 6 --prompt 'userShe was" + "assistant" +
          answer + "userThe dog'");
  EXPECT_EQ(whole.code, 0) << whole.err;
  EXPECT_THAT(talked.out, testing::EndsWith(whole.out));
}

TEST_F(CliChat, ASystemMessageComesFirst) {
  const Outcome with = talk("The dog", "--system 'Say yes.'"), without = talk("The dog");
  EXPECT_EQ(with.code, 0) << with.err;
  set_template(
      "{% for m in messages %}{{ m.role }}: {{ m.content }}|{% endfor %}{{ raise_exception(messages[0].role) "
      "}}");
  expect_error(talk("The dog", "--system 'Say yes.'"), "system");
  expect_error(talk("The dog"), "user");
  EXPECT_EQ(without.code, 0);
}

TEST_F(CliChat, ATemplateThatFailsIsOneLine) {
  set_template("{{ raise_exception('only one turn, please') }}");
  expect_error(talk("The dog ran\n"), "only one turn, please");
  set_template("{% for m in messages %}");
  expect_error(talk("The dog ran\n"), "chat template");
  expect_error(run("printf 'x\n' | " + kEdgeqRun + " run " + kTiny + " --chat"), "chat template");
}

// 512 tokens of context: the turn that does not fit is refused, and how to go on is said.
TEST_F(CliChat, AConversationBeyondTheContextIsRefused) {
  std::string line;
  for (int i = 0; i < 400; ++i) line += "She was a good girl. ";
  expect_error(talk(line), "the model's context is 512");
}

}  // namespace
}  // namespace edgeq
