// SPDX-License-Identifier: Apache-2.0
#include "formats/output_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

constexpr auto kReplace = OutputFile::Existing::replace;

TEST(OutputFolder, HasItsFinalNameOnlyAfterCommit) {
  const TempDir dir;
  OutputFolder out(dir.file("model/"));
  out.write("config.json", "{}");
  EXPECT_FALSE(std::filesystem::exists(dir.file("model")));
  out.commit();
  EXPECT_EQ(read_text_file(dir.path() / "model" / "config.json"), "{}");
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(OutputFolder, LeavesNothingBehindWhenItIsDropped) {
  const TempDir dir;
  { OutputFolder(dir.file("model")).write("config.json", "{}"); }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(OutputFolder, TwoWritersOfOnePathDoNotMix) {
  const TempDir dir;
  OutputFolder first(dir.file("model"));
  first.write("config.json", "first");
  EXPECT_THAT(error_of([&] { OutputFolder second(dir.file("model")); }),
              HasSubstr("model.partial is being written by another process"));
  first.commit();
  EXPECT_EQ(read_text_file(dir.path() / "model" / "config.json"), "first");
}

TEST(OutputFolder, RefusesAFolderThatAppearedMeanwhile) {
  const TempDir dir;
  OutputFolder out(dir.file("model"));
  out.write("config.json", "{}");
  std::filesystem::create_directory(dir.file("model"));
  EXPECT_THAT(error_of([&] { out.commit(); }), HasSubstr("model exists already"));
}

TEST(OutputFolder, ReplacesOnlyAFolderOfFilesWithAConfig) {
  const TempDir dir;
  std::filesystem::create_directories(dir.file("home/deep"));
  dir.write("home/config.json", "{}");
  dir.write("file", "text");
  std::filesystem::create_directory(dir.file("empty"));
  for (const char* name : {"home", "file", "empty"})
    EXPECT_THAT(error_of([&] { OutputFolder out(dir.file(name), kReplace); }),
                HasSubstr("it is not replaced"));
}

TEST(OutputFolder, AFullDiskIsAnErrorAndLeavesTheOldFolder) {
  const TempDir dir;
  std::filesystem::create_directory(dir.file("model"));
  dir.write("model/config.json", "old");
  rlimit saved{};
  ::getrlimit(RLIMIT_FSIZE, &saved);
  const rlimit small{4096, saved.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = error_of([&] {
    OutputFolder out(dir.file("model"), kReplace);
    out.write("config.json", "new");
    out.write("model.safetensors", std::string(8192, 'x'));
    out.commit();
  });
  ::setrlimit(RLIMIT_FSIZE, &saved);
  ::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr("cannot write"));
  EXPECT_EQ(read_text_file(dir.path() / "model" / "config.json"), "old");
  EXPECT_EQ(dir.entries(), 1u);
}

}  // namespace
}  // namespace edgeq
