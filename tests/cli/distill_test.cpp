// SPDX-License-Identifier: Apache-2.0
// `edgeq distill` on the model that the repository carries.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/cli/binaries.h"
#include "tests/cli/training.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

// A recipe of few steps.
std::string recipe(const TempDir& dir, const std::string& student, const std::string& more = "",
                   const std::string& teacher = kTiny, const std::string& text = kTinyText) {
  return dir.write("r.yaml",
                   fmt::format("teacher: {}\nstudent: {}\n"
                               "data: {{texts: {}, held_out_texts: {}, length: 128, held_out_sequences: 8}}\n"
                               "train: {{tokens: 8000, batch: 4, rate: 1e-3, looks: 2, arithmetic: f32}}\n{}",
                               teacher, student, text, kTinyHeldOut, more));
}

TEST(Distill, HealsAModelOfFewerLayersAndWritesAFolder) {
  const TempDir dir;
  const std::string output = dir.file("student");
  const std::string command = "distill " + recipe(dir, "{layers: 3, init: teacher}") + " -o " + output;
  const Outcome made = edgeq(command + " --json");
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_LT(gained(nlohmann::json::parse(made.out)), 0.9);
  EXPECT_EQ(nlohmann::json::parse(read_text_file(output + "/config.json")).at("num_hidden_layers"), 3);
  EXPECT_THAT(read_text_file(output + ".report.html"), AllOf(HasSubstr("<svg"), HasSubstr("kept: ")));
  EXPECT_FALSE(fs::exists(output + ".work"));
  EXPECT_EQ(edgeq("run " + output + " --prompt 'She was' --tokens 4 --greedy").code, 0);
  expect_error(edgeq(command), "already exists");
}

TEST(Distill, TrainsThroughTheRoundingOfAPackedFile) {
  const TempDir dir;
  const std::string output = dir.file("student.packed");
  const Outcome made = edgeq("distill " + recipe(dir, "{model: " + kTiny + ", quantize: int3-g64-sym}") +
                             " -o " + output + " --json");
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_LT(gained(nlohmann::json::parse(made.out)), 0.95);
  EXPECT_THAT(edgeq("inspect " + output).out, HasSubstr("int3-g64-sym"));
  // Its codes are what a second training begins from.
  const Outcome again = edgeq("distill " + recipe(dir, "{model: " + output + "}") + " --dry-run");
  EXPECT_THAT(again.out, HasSubstr("28 sites trained through their rounding")) << again.err;
}

// The held-out text of the training, read by the runtime's integer kernels from the written file.
TEST(Distill, TrainsThroughTheRoundingOfInputsAndTheFileRemembersIt) {
  const TempDir dir;
  const std::string output = dir.file("student.packed");
  const Outcome made = edgeq(
      "distill " + recipe(dir, "{model: " + kTiny + ", quantize: int3-channel-sym, inputs: int8_token}") +
      " -o " + output + " --json");
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_LT(gained(nlohmann::json::parse(made.out)), 0.95);
  EXPECT_THAT(edgeq("inspect " + output).out, HasSubstr("activations  int8_token"));
  // A packed student trains with what its file says, unless told otherwise.
  const auto planned = [&](const std::string& student) {
    return edgeq("distill " + recipe(dir, "{model: " + output + student + "}") + " --dry-run").out;
  };
  EXPECT_THAT(planned(""), HasSubstr("28 sites trained through their rounding, inputs int8_token"));
  EXPECT_THAT(planned(", inputs: int8_block"), HasSubstr("rounding, inputs int8_block"));
  EXPECT_THAT(planned(", inputs: f32"), HasSubstr("trained through their rounding\n"));
}

TEST(Distill, ReadsATeacherThatAnEarlierRunKept) {
  const TempDir dir;
  const std::string text = dir.write("short.txt", read_text_file(kTinyText).substr(0, 30000));
  const auto train = [&](const std::string& cache, const std::string& output) {
    return edgeq("distill " +
                 recipe(dir, "{layers: 3, init: teacher}", "teacher_cache: " + cache, kTiny, text) + " -o " +
                 dir.file(output) + " --json");
  };
  const std::string top = fmt::format("{{top_k: 64, folder: {}}}", dir.file("kept"));
  const Outcome first = train(top, "a"), second = train(top, "b");
  ASSERT_EQ(first.code, 0) << first.err;
  ASSERT_EQ(second.code, 0) << second.err;
  const auto one = nlohmann::json::parse(first.out), other = nlohmann::json::parse(second.out);
  EXPECT_LT(gained(one), 0.9);
  EXPECT_EQ(one.at("losses"), other.at("losses"));
  EXPECT_GT(one.at("teacher_cache").at("computed"), 0);
  EXPECT_EQ(other.at("teacher_cache").at("computed"), 0);
  // At most 2 bytes for an id and 2 for a probability of 64 tokens, 2 for the tail, and what HDF5 adds.
  EXPECT_LT(one.at("teacher_cache").at("bytes_per_token"), 300);
  expect_error(train(fmt::format("{{top_k: 32, folder: {}}}", dir.file("kept")), "c"),
               "another k: found 64, expected 32");
  EXPECT_FALSE(fs::exists(dir.file("c")));
  const Outcome samples = train("{samples: 50}", "d");
  ASSERT_EQ(samples.code, 0) << samples.err;
  EXPECT_LT(gained(nlohmann::json::parse(samples.out)), 0.95);
  EXPECT_EQ(nlohmann::json::parse(samples.out).at("terms").at(0),
            "forward_kl (cross entropy with samples 50)");
}

TEST(Distill, BadRecipesAreOneLine) {
  const TempDir dir;
  const auto run = [&](const std::string& file) { return edgeq("distill " + file + " --dry-run"); };
  expect_error(run(recipe(dir, "{model: " + kTiny + ", layers: 2}")), "both a model and a shape");
  expect_error(run(recipe(dir, "{layers: 9, init: teacher}")), "which has 4");
  expect_error(run(recipe(dir, "{layers: 2, init: random}", "losses: [klx]\n")), "there is no loss \"klx\"");
  expect_error(run(recipe(dir, "{layers: 2}", "losses: [{forward_kl: {temperature: 0}}]\n")), "temperature");
  expect_error(run(recipe(dir, "{layers: 2}", "losses: [js]\nteacher_cache: {top_k: 64}\n")),
               "js cannot be taken from a cached teacher");
  expect_error(run(recipe(dir, "{layers: 2}", "teacher_cache: {top_k: 64, samples: 50}\n")),
               "both top_k and");
  expect_error(run(recipe(dir, "{layers: 2}", "teacher_cache: {folder: x}\n")), "neither top_k nor samples");
  expect_error(run(recipe(dir, "{layers: 2}", "teacher_cache: {top_k: 300}\n")), "expected 1 to 255");
  const std::string tiny = "{model: " + kTiny;
  expect_error(run(recipe(dir, tiny + ", inputs: int8_token}")),
               "inputs int8_token of a student without codes");
  expect_error(run(recipe(dir, tiny + ", quantize: int8-channel-sym, inputs: int4}")),
               "r.yaml:2: activations are \"int4\"");
  expect_error(run(recipe(dir, tiny + ", quantize: int8-channel-sym, inputs: int8_static}")),
               "int8_static cannot be trained with");
  expect_error(run(recipe(dir, tiny + ", adapters: {rank: 2}, inputs: int8_token}")),
               "both adapters and inputs");
  expect_error(run(recipe(dir, "{heads: 5}")), "5 heads are not a multiple");
  expect_error(run(recipe(dir, "{layers: 2}", "", "nowhere")), "nowhere");
  expect_error(run(dir.write("e.yaml", "student: {layers: 2}\ndata: {texts: a.txt}\ntrain: {tokens: 5}\n")),
               "takes its shape from a teacher");
}

}  // namespace
}  // namespace edgeq
