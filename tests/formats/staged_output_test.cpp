// SPDX-License-Identifier: Apache-2.0
#include "formats/staged_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

void write_in(const TempDir& dir, const std::string& folder, const char* name, const char* content) {
  std::filesystem::create_directories(dir.path() / folder);
  dir.write(folder + "/" + name, content);
}

constexpr auto kReplace = OutputFile::Existing::replace;

TEST(StagedOutput, ReplacesAFolderOfFilesWithAConfig) {
  const TempDir dir;
  write_in(dir, "model", "config.json", "old");
  StagedOutput out(dir.file("model"), kReplace);
  write_in(dir, "model.unverified", "config.json", "new");
  out.publish();
  EXPECT_EQ(read_text_file(dir.path() / "model" / "config.json"), "new");
}

TEST(StagedOutput, ReplacesNoOtherFolder) {
  const TempDir dir;
  write_in(dir, "home/letters", "first", "dear");
  EXPECT_THAT(error_of([&] { StagedOutput out(dir.file("home"), kReplace); }),
              HasSubstr("it is not replaced"));
  {
    StagedOutput out(dir.file("late"), kReplace);
    write_in(dir, "late.unverified", "config.json", "{}");
    write_in(dir, "late/letters", "first", "dear");  // has come into being meanwhile
    EXPECT_THAT(error_of([&] { out.publish(); }), HasSubstr("it is not replaced"));
  }
  for (const char* folder : {"home", "late"})
    EXPECT_EQ(read_text_file(dir.path() / folder / "letters" / "first"), "dear");
}

}  // namespace
}  // namespace edgeq
