// SPDX-License-Identifier: Apache-2.0
// `edgeq traces` on the model that the repository carries, which writes novels and can be right by chance
// only: at a high temperature numbers are among what it writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "distill/answers.h"
#include "distill/traces.h"
#include "tests/cli/binaries.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CliTraces : public testing::Test {
 protected:
  std::string prompts(const std::string& answer) const {
    std::string lines;
    for (const char* who : {"The girl", "Her brother", "The dog"})
      lines += R"({"prompt": ")" + std::string(who) + R"( had 12 apples and 7 pears.", "answer": ")" +
               answer + "\"}\n";
    return dir_.write("prompts.jsonl", lines);
  }
  Outcome traces(const std::string& options, const std::string& prompts) const {
    return edgeq("traces " + kTiny + " --quiet --prompts " + prompts + " " + options);
  }

  TempDir dir_;
  const std::string wild_ =
      " --samples 40 --tokens 100 --temperature 20 --top-p 1 --stop . --stop , --stop '!' --stop ';' --stop "
      "'?' ";
  const std::string out_ = dir_.file("out.jsonl");
};

TEST_F(CliTraces, TheSeedDecidesNotHowManyAreWrittenTogether) {
  const std::string p = prompts("5"), options = " --samples 3 --tokens 50 --stop . --keep all -o ";
  const auto written = [&](const std::string& more) {
    const std::string path = dir_.file("w.jsonl");
    const Outcome o = traces(options + path + " --overwrite " + more, p);
    EXPECT_EQ(o.code, 0) << o.err;
    return read_text_file(path);
  };
  const std::string one = written("--parallel 1");
  EXPECT_EQ(written("--parallel 4 --threads 1"), one);
  EXPECT_EQ(written("--parallel 64"), one);
  EXPECT_NE(written("--parallel 4 --seed 1"), one);
  EXPECT_FALSE(std::filesystem::exists(dir_.file("w.jsonl.work")));
  EXPECT_EQ(dir_.entries(), 2u);
}

TEST_F(CliTraces, OnlyRightAnswersAreKept) {
  const Outcome all = traces(wild_ + "--keep all -o " + out_, prompts("-98765"));
  ASSERT_EQ(all.code, 0) << all.err;
  std::map<int64_t, int> found;  // how often each answer was written
  const TraceFile file = read_traces(out_, TraceFields::completion, 0);
  for (const Trace& trace : file.traces)
    if (const auto answer = checkable_answer(completion(trace, false)); answer && answer->denominator == 1)
      ++found[answer->numerator];
  ASSERT_FALSE(found.empty()) << "nothing was written with a number in it";
  const int64_t answer = found.begin()->first;
  const Outcome kept = traces(wild_ + "--json --overwrite -o " + out_, prompts(std::to_string(answer)));
  ASSERT_EQ(kept.code, 0) << kept.err;
  const auto counts = nlohmann::json::parse(kept.out);
  const TraceFile right = read_traces(out_, TraceFields::answer, 0);
  EXPECT_EQ(std::ssize(right.traces) + counts["duplicates"].get<int64_t>(), counts["right"]);
  EXPECT_EQ(std::ssize(right.traces), counts["kept"]);
  EXPECT_GE(counts["right"], found.begin()->second);  // those that end as GSM8K's do are the same twice
  for (const Trace& trace : right.traces) EXPECT_EQ(checkable_answer(trace.trace)->numerator, answer);
  int64_t sum = 0;
  for (const char* of : {"right", "wrong", "no_answer", "unchecked", "too_long"})
    sum += counts[of].get<int64_t>();
  EXPECT_EQ(sum, 120);
  EXPECT_EQ(counts["written"], 120);
  EXPECT_NEAR(counts["exact_match"].get<double>(), counts["right"].get<double>() / 120, 1e-9);
  EXPECT_GT(counts["exact_match_stderr"].get<double>() + 1e-12, 0);
}

TEST_F(CliTraces, WithoutAnOutputExactMatchIsMeasured) {
  const Outcome o = traces("--temperature 0 --tokens 30 --stop .", prompts("5"));
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_THAT(o.out, AllOf(HasSubstr("3 traces of 3 prompts"), HasSubstr("exact match 0 of 3 (0.0 % ")));
  EXPECT_EQ(dir_.entries(), 1u);
}

TEST_F(CliTraces, WhatCannotBeCheckedIsKept) {
  const std::string p =
      dir_.write("p.jsonl", "{\"question\": \"The sea was\"}\n{\"prompt\": \"She\", \"answer\": \"yes\"}\n");
  const Outcome o = traces("--temperature 0 --tokens 60 --stop . --json -o " + out_, p);
  ASSERT_EQ(o.code, 0) << o.err;
  const auto counts = nlohmann::json::parse(o.out);
  EXPECT_EQ(counts["unchecked"], counts["kept"]);
  EXPECT_FALSE(counts.contains("exact_match"));
}

TEST_F(CliTraces, AKilledRunGoesOnAndEndsInTheSameBytes) {
  const std::string p = prompts("5"), whole = dir_.file("whole.jsonl");
  const std::string options = " --samples 30 --tokens 120 --stop '!' --keep all -o ";
  ASSERT_EQ(traces(options + whole, p).code, 0);
  const std::string command = kEdgeq + " traces " + kTiny + " --quiet --prompts " + p + options + out_;
  const std::string work = out_ + ".work";
  const Outcome killed =
      run("( exec " + command + " ) & child=$!; while [ $(cat " + work +
          " 2>/dev/null | wc -l) -lt 5 ] && kill -0 $child 2>/dev/null; do sleep 0.01; done; "
          "kill -KILL $child; wait $child");
  if (killed.code == 0) GTEST_SKIP() << "it was done before the signal reached it";
  EXPECT_FALSE(std::filesystem::exists(out_));
  std::string journal = read_text_file(work);
  journal.resize(journal.size() - 7);  // as if in the middle of a line
  dir_.write("out.jsonl.work", journal);
  expect_error(traces(options + out_ + " --seed 5", p), "seed is 0, expected 5");
  expect_error(traces(options + out_ + " --temperature 0.5", p), "temperature is 0.8, expected 0.5");
  expect_error(traces(" --samples 31 --tokens 120 --stop '!' -o " + out_, p), "samples is 30, expected 31");
  expect_error(traces(options + out_ + " --limit 2", p), "traces of another run: prompts is ");
  EXPECT_EQ(read_text_file(work), journal);
  const Outcome resumed = traces(options + out_ + " --parallel 3", p);
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(read_text_file(out_), read_text_file(whole));
  EXPECT_FALSE(std::filesystem::exists(work));
}

TEST_F(CliTraces, NothingToKeepIsAnErrorThatLosesNothing) {
  const std::string options = " --tokens 40 --stop . -o " + out_;
  expect_error(traces(options, prompts("-98765")), "no trace to keep of 3 written");
  EXPECT_FALSE(std::filesystem::exists(out_));
  EXPECT_TRUE(std::filesystem::exists(out_ + ".work"));
  EXPECT_EQ(traces(options + " --keep all", prompts("-98765")).code, 0);
}

TEST_F(CliTraces, BadInputIsOneLine) {
  const std::string p = prompts("5");
  expect_error(traces("", dir_.file("none.jsonl")), "none.jsonl");
  expect_error(traces("", dir_.write("b.jsonl", "{\"prompt\": \"a\"}\n{oops\n")), "line 2: no JSON");
  expect_error(traces("", dir_.write("e.jsonl", "\n")), "no traces in it");
  expect_error(traces("--temperature -1", p), "temperature is -1");
  expect_error(traces("--chat", p), "template");
  dir_.write("out.jsonl", "precious");
  expect_error(traces("-o " + out_, p), "out.jsonl");
  EXPECT_EQ(read_text_file(out_), "precious");
  dir_.write("x.jsonl.work", "something else\n");
  expect_error(traces("-o " + dir_.file("x.jsonl"), p), "no journal of `edgeq traces`");
  EXPECT_EQ(read_text_file(dir_.file("x.jsonl.work")), "something else\n");
  expect_error(edgeq("traces " + dir_.file("none") + " --prompts " + p), "none");
  EXPECT_EQ(traces("--keep some", p).code, 2);
  EXPECT_EQ(traces("--system 'Be brief'", p).code, 2);
  EXPECT_EQ(traces("--samples 0", p).code, 2);
}

TEST_F(CliTraces, APromptLongerThanTheContextIsTooLong) {
  std::string words;
  for (int i = 0; i < 900; ++i) words += "and so ";
  const std::string p = dir_.write("l.jsonl", "{\"prompt\": \"" + words + "\"}\n{\"prompt\": \"She\"}\n");
  const Outcome o = traces("--temperature 0 --tokens 60 --stop . --json", p);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(nlohmann::json::parse(o.out)["too_long"], 1);
}

}  // namespace
}  // namespace edgeq
