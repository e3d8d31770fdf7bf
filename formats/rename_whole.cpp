// SPDX-License-Identifier: Apache-2.0
#include "formats/rename_whole.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

namespace edgeq {
namespace {

namespace fs = std::filesystem;

int rename_flagged(const std::string& from, const std::string& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

// A rename lives in its folder: without this a power cut may undo it. Not every file system can; no harm.
void sync_folder_of(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

int rename_by_rule(const std::string& from, const std::string& to, OutputFile::Existing existing) {
  const bool refuse = existing == OutputFile::Existing::refuse;
  std::error_code ignored;
  const bool exchange = !refuse && fs::is_directory(from, ignored) && fs::exists(to, ignored);
  if (refuse || exchange) {
    const int failed = rename_flagged(from, to, refuse ? RENAME_NOREPLACE : RENAME_EXCHANGE);
    if (failed == 0 && exchange) fs::remove_all(from, ignored);  // what had the name before
    if (failed != EINVAL && failed != ENOSYS) return failed;
    // File systems without these flags: the best that is left is to look first. A plain rename puts a folder
    // only over nothing or an empty folder.
    if (refuse && ::access(to.c_str(), F_OK) == 0) return EEXIST;
  }
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

}  // namespace

int rename_whole(const std::string& from, const std::string& to, OutputFile::Existing existing) {
  const int failed = rename_by_rule(from, to, existing);
  if (failed == 0) sync_folder_of(to);
  return failed;
}

}  // namespace edgeq
