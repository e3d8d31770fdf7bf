// SPDX-License-Identifier: Apache-2.0
#include "eval/tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "models/import.h"
#include "runtime/runtime.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string kSource = EDGEQ_SOURCE_DIR;

class TasksTest : public testing::Test {
 protected:
  static const Checkpoint& checkpoint() {
    static const auto tiny = open_checkpoint(kSource + "/configs/models/tiny-llama");
    return *tiny;
  }
  static const Tokenizer& tokenizer() {
    static const Tokenizer tokenizer = checkpoint().tokenizer();
    return tokenizer;
  }
  static const LanguageModel& model() {
    static const auto model = open_float_runtime(checkpoint(), {.threads = 2});
    return *model;
  }
  Task read(const std::string& lines, const TaskOptions& options = {}) {
    return read_task(dir_.write("t.jsonl", lines), tokenizer(), 512, options);
  }
  std::string refusal(const std::string& line) {
    const std::string good = "{\"query\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": 1}\n";
    return error_of([&] { read(good + line + "\n"); });
  }

  TempDir dir_;
};

// Floats of two engines: a logit near 10 is known to 1e-5 or so, and a sum is over some ten tokens.
constexpr double kLogProbabilityTolerance = 2e-3;

double worst_difference(const TaskScore& score, const nlohmann::json& expected) {
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    for (size_t c = 0; c < expected[i]["log_probabilities"].size(); ++c)
      worst = std::max(worst, std::abs(score.log_probabilities.at(i).at(c) -
                                       expected[i]["log_probabilities"][c].get<double>()));
  return worst;
}

TEST_F(TasksTest, LogProbabilitiesAreThoseOfTransformers) {
  const std::string folder = kSource + "/tests/golden/tasks/";
  const auto expected = nlohmann::json::parse(read_text_file(folder + "expected.json"));
  const Task task = read_task(folder + "items.jsonl", tokenizer(), 512, {});
  ASSERT_EQ(task.items.size(), expected.size());
  const TaskScore score = score_task(model(), task, {});
  EXPECT_LT(worst_difference(score, expected), kLogProbabilityTolerance);
  double right = 0, right_norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(score.right[i], expected[i]["best"] == task.items[i].gold) << i;
    EXPECT_EQ(score.right_norm[i], expected[i]["best_norm"] == task.items[i].gold) << i;
    right += expected[i]["best"] == task.items[i].gold ? 1 : 0;
    right_norm += expected[i]["best_norm"] == task.items[i].gold ? 1 : 0;
  }
  const double n = double(expected.size());
  EXPECT_DOUBLE_EQ(score.accuracy, right / n);
  EXPECT_DOUBLE_EQ(score.accuracy_norm, right_norm / n);
  EXPECT_NEAR(score.standard_error, std::sqrt(score.accuracy * (1 - score.accuracy) / (n - 1)), 1e-12);
  EXPECT_NE(score.accuracy, score.accuracy_norm) << "the items tell the two apart";
  // The check can fail: a delimiter that is not there moves every sum.
  const Task glued = read_task(folder + "items.jsonl", tokenizer(), 512, {.delimiter = ""});
  EXPECT_GT(worst_difference(score_task(model(), glued, {}), expected), kLogProbabilityTolerance);
}

TEST_F(TasksTest, WhiteSpaceBelongsToTheContinuationAndCharactersAreCounted) {
  const Task task =
      read("{\"query\": \"She was \", \"choices\": [\"na\u00efve\", \"at home\"], \"gold\": 0}");
  const TaskChoice& first = task.items[0].choices[0];
  EXPECT_EQ(first.context, tokenizer().encode("She was"));
  EXPECT_EQ(tokenizer().decode(first.continuation), " na\u00efve");
  EXPECT_EQ(first.characters, 5);
  EXPECT_EQ(task.name, "t");
}

TEST_F(TasksTest, ALimitTakesTheFirstItemsAndReadsNoFurther) {
  const std::string good = "{\"query\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": 1}\n\n";
  EXPECT_EQ(read(good + good + "broken", {.limit = 2}).items.size(), 2u);
}

TEST_F(TasksTest, WhatIsNoItemIsNamedByFileAndLine) {
  EXPECT_THAT(refusal("{\"query\": "), HasSubstr("t.jsonl:2: not a JSON object"));
  EXPECT_THAT(refusal("[1, 2]"), HasSubstr("t.jsonl:2: not a JSON object"));
  EXPECT_THAT(refusal("{\"choices\": [\"b\", \"c\"], \"gold\": 1}"), HasSubstr(":2: no field \"query\""));
  EXPECT_THAT(refusal("{\"query\": \"a\", \"gold\": 1}"), HasSubstr(":2: no field \"choices\""));
  EXPECT_THAT(refusal("{\"query\": \"a\", \"choices\": [\"b\", 3], \"gold\": 1}"),
              HasSubstr("list of texts"));
  EXPECT_THAT(refusal("{\"query\": \"a\", \"choices\": \"b\", \"gold\": 1}"), HasSubstr("list of texts"));
  EXPECT_THAT(refusal("{\"query\": \"a\", \"choices\": [], \"gold\": 0}"), HasSubstr("0 entries"));
  EXPECT_THAT(refusal("{\"query\": \"a\", \"choices\": [\"b\", \"\"], \"gold\": 0}"), HasSubstr("is empty"));
  EXPECT_THAT(refusal("{\"query\": \"a\", \"choices\": [\"b\", \"c\"]}"), HasSubstr("no field \"gold\""));
  for (const char* gold : {"2", "-1", "1.0", "\"b\"", "null", "18446744073709551615"})
    EXPECT_THAT(
        refusal(std::string("{\"query\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": ") + gold + "}"),
        AllOf(HasSubstr(":2: gold is "), HasSubstr("expected 0 to 1")))
        << gold;
  EXPECT_THAT(refusal("{\"context_options\": [\"a\", \"b\"], \"gold\": 1}"), HasSubstr("\"continuation\""));
  EXPECT_THAT(error_of([&] { read("\n\n"); }), HasSubstr("no items"));
}

TEST_F(TasksTest, AnItemThatIsLongerThanTheContextIsRefused) {
  std::string text;
  for (int i = 0; i < 600; ++i) text += " one";
  EXPECT_THAT(refusal("{\"query\": \"" + text + "\", \"choices\": [\"b\", \"c\"], \"gold\": 1}"),
              AllOf(HasSubstr("t.jsonl:2: an item of "), HasSubstr("context is 512")));
}

TaskScore score_of(const std::vector<bool>& right) {
  return {.name = "t", .hash = "h", .log_probabilities = {}, .right = right, .right_norm = right};
}

TEST(TaskDifference, IsPaired) {
  const TaskScore a = score_of({true, true, false, true}), b = score_of({true, false, false, true});
  const TaskDifference d = task_difference(a, b);  // differences 0, 1, 0, 0: mean 1/4, variance 1/4
  EXPECT_DOUBLE_EQ(d.accuracy, 0.25);
  EXPECT_DOUBLE_EQ(d.standard_error, 0.25);
  EXPECT_EQ(task_difference(a, a).standard_error, 0);
  EXPECT_THAT(error_of([&] { task_difference(a, score_of({true})); }), HasSubstr("4 items"));
}

}  // namespace
}  // namespace edgeq
