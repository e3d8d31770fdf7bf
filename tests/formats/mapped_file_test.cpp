// SPDX-License-Identifier: Apache-2.0
#include "formats/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <limits>

#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

TEST(MappedFile, ShowsTheFilesBytes) {
  const TempDir dir;
  const auto file = MappedFile::open(dir.write("a", "hello"));
  EXPECT_EQ(file->size(), 5);
  const auto bytes = file->slice(1, 3, "middle");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "ell");
  file->will_need(bytes);
  file->dont_need(bytes);
  EXPECT_EQ(char(bytes[0]), 'e');  // hints change nothing
}

TEST(MappedFile, RefusesASliceOutsideTheFileWhateverTheNumbers) {
  const auto file = MappedFile::from_bytes("model", std::vector<std::byte>(10));
  EXPECT_EQ(file->slice(10, 0, "nothing").size(), 0u);
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  for (const auto& [offset, count] :
       {std::pair<uint64_t, uint64_t>{0, 11}, {11, 0}, {5, 6}, {kHuge, 1}, {1, kHuge}, {kHuge, kHuge}})
    EXPECT_THAT(error_of([&] { file->slice(offset, count, "tensor w"); }),
                testing::AllOf(HasSubstr("model: tensor w"), HasSubstr("the file has 10 bytes")));
}

TEST(MappedFile, SaysWhyAPathCannotBeRead) {
  const TempDir dir;
  EXPECT_THAT(error_of([&] { MappedFile::open(dir.file("absent")); }),
              testing::AllOf(HasSubstr("absent"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([&] { MappedFile::open(dir.path().string()); }), HasSubstr("is a folder"));
  EXPECT_THAT(error_of([&] { MappedFile::open(dir.write("empty", "")); }), HasSubstr("empty is empty"));
  ASSERT_EQ(::mkfifo(dir.file("pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { MappedFile::open(dir.file("pipe")); }), HasSubstr("device or pipe"));
}

}  // namespace
}  // namespace edgeq
