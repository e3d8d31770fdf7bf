// SPDX-License-Identifier: Apache-2.0
#include "formats/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "core/random.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(OutputFile, HasItsFinalNameOnlyAfterCommit) {
  const TempDir dir;
  OutputFile out(dir.file("model"));
  out.write("weights");
  EXPECT_FALSE(std::filesystem::exists(dir.file("model")));
  EXPECT_TRUE(std::filesystem::exists(dir.file("model.partial")));
  out.commit();
  EXPECT_EQ(read_text_file(dir.file("model")), "weights");
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(OutputFile, LeavesNothingBehindWhenItIsDropped) {
  const TempDir dir;
  {
    OutputFile out(dir.file("model"));
    out.write(std::string(1 << 20, 'x'));
  }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(OutputFile, WritesPatchesPadsAndShifts) {
  const TempDir dir;
  Random random(1);
  std::string expected(9 * 1024 * 1024 + 17, '\0');  // larger than the buffer and than a piece of a move
  for (char& c : expected) c = char(random.next());
  OutputFile out(dir.file("model"));
  out.write("head");
  for (size_t at = 0; at < expected.size(); at += 1000003)
    out.write(std::string_view(expected).substr(at, 1000003));
  out.shift(4, 12);
  out.patch(0, std::as_bytes(std::span("a longer header!", 16)));
  EXPECT_EQ(out.position(), int64_t(expected.size()) + 16);
  out.pad_to(64, ' ');
  EXPECT_EQ(out.position() % 64, 0);
  out.pad_to(64);
  const int64_t size = out.position();
  out.commit();
  const std::string content = read_text_file(dir.file("model"));
  ASSERT_EQ(int64_t(content.size()), size);
  EXPECT_EQ(content.substr(0, 16), "a longer header!");
  EXPECT_TRUE(content.substr(16, expected.size()) == expected);
  EXPECT_EQ(content.back(), ' ');
}

TEST(OutputFile, RefusesAnExistingOutputUnlessToldToReplaceIt) {
  const TempDir dir;
  dir.write("model", "old");
  EXPECT_THAT(error_of([&] { OutputFile out(dir.file("model")); }),
              AllOf(HasSubstr("model"), HasSubstr("exists")));
  OutputFile out(dir.file("model"), OutputFile::Existing::replace);
  out.write("new");
  EXPECT_EQ(read_text_file(dir.file("model")), "old");  // whole until the moment of the exchange
  out.commit();
  EXPECT_EQ(read_text_file(dir.file("model")), "new");
}

TEST(OutputFile, RefusesToReplaceAFileThatAppearedMeanwhile) {
  const TempDir dir;
  {
    OutputFile out(dir.file("model"));
    dir.write("model", "someone else's");
    EXPECT_THAT(error_of([&] { out.commit(); }), HasSubstr("exists already"));
  }
  EXPECT_EQ(read_text_file(dir.file("model")), "someone else's");
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(OutputFile, SaysWhyAnOutputCannotBeMade) {
  const TempDir dir;
  EXPECT_THAT(error_of([&] { OutputFile out(dir.file("absent/model")); }),
              AllOf(HasSubstr("absent/model.partial"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([&] { OutputFile out(dir.path().string()); }), HasSubstr("is a folder"));
  EXPECT_THAT(error_of([&] { OutputFile out("/dev/full"); }), HasSubstr("device or pipe"));
}

TEST(OutputFile, SaysThatAFolderIsNotWritable) {
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0555), 0);
  const uid_t user = ::geteuid();
  if (user == 0) {  // root may write everywhere: become nobody
    ASSERT_EQ(::seteuid(65534), 0);
  }
  EXPECT_THAT(error_of([&] { OutputFile out(dir.file("model")); }),
              AllOf(HasSubstr("model.partial"), HasSubstr("Permission denied")));
  ASSERT_EQ(::seteuid(user), 0);
}

TEST(OutputFile, TwoWritersOfOnePathDoNotMix) {
  const TempDir dir;
  OutputFile first(dir.file("model"));
  first.write("first");
  EXPECT_THAT(error_of([&] { OutputFile second(dir.file("model")); }), HasSubstr("another process"));
  first.commit();
  EXPECT_EQ(read_text_file(dir.file("model")), "first");
}

TEST(OutputFile, TakesOverWhatAKilledRunLeftBehind) {
  const TempDir dir;
  dir.write("model.partial", "a long remainder of an earlier run");
  OutputFile out(dir.file("model"));
  out.write("new");
  out.commit();
  EXPECT_EQ(read_text_file(dir.file("model")), "new");
}

// A file size limit fails as a full disk does: write() comes back short or with an error.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &saved_);
    const rlimit limit{bytes, saved_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &saved_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit saved_{};
  void (*handler_)(int) = nullptr;
};

TEST(OutputFile, AFullDiskIsAnErrorAndLeavesNothing) {
  const TempDir dir;
  {
    const SizeLimit limit(100000);
    OutputFile out(dir.file("model"));
    EXPECT_THAT(error_of([&] {
                  for (int i = 0; i < 64; ++i) out.write(std::string(10000, 'x'));
                  out.commit();
                }),
                AllOf(HasSubstr("cannot write"), HasSubstr("model.partial"), HasSubstr("File too large")));
  }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(OutputFile, AFullDiskAtTheLastBufferIsStillAnError) {
  const TempDir dir;
  {
    const SizeLimit limit(100);
    OutputFile out(dir.file("model"));
    out.write(std::string(101, 'x'));  // fits the buffer: only commit() meets the disk
    EXPECT_THAT(error_of([&] { out.commit(); }), HasSubstr("File too large"));
  }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(OutputFile, TheFolderOfAnOutputIsMadeAndNotTheOutput) {
  const TempDir dir;
  make_folder_of(dir.file("a/b/file"));
  make_folder_of(dir.file("a/c/folder/"));
  make_folder_of("file");
  EXPECT_TRUE(std::filesystem::is_directory(dir.file("a/b")));
  EXPECT_TRUE(std::filesystem::is_directory(dir.file("a/c")));
  EXPECT_FALSE(std::filesystem::exists(dir.file("a/b/file")));
  EXPECT_FALSE(std::filesystem::exists(dir.file("a/c/folder")));
  dir.write("plain", "");
  EXPECT_THAT(error_of([&] { make_folder_of(dir.file("plain/sub/file")); }), HasSubstr("cannot be made"));
}

}  // namespace
}  // namespace edgeq
