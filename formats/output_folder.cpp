// SPDX-License-Identifier: Apache-2.0
#include "formats/output_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "formats/rename_whole.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(std::string_view verb, const std::string& path, int reason) {
  throw Error(fmt::format("cannot {} {}: {}", verb, path, std::generic_category().message(reason)));
}

Error already_exists(const std::string& path) {
  return Error(fmt::format("{} exists already; expected a new folder", path))
      .set_hint("remove it or choose another output");
}

}  // namespace

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

void require_replaceable_folder(const std::string& path) {
  std::error_code error;
  bool is_output = false, only_files = fs::is_directory(path, error);
  for (auto entry = fs::directory_iterator(path, error); !error && entry != fs::directory_iterator();
       ++entry) {
    only_files &= entry->symlink_status().type() == fs::file_type::regular;
    const auto name = entry->path().filename();
    is_output |= name == "config.json" || name == "model.packed";
  }
  if (error || !only_files || !is_output)
    throw Error(
        fmt::format("{} is not a folder of files with a config.json or a model.packed; it is not replaced",
                    path))
        .set_hint("remove it or choose another output");
}

OutputFolder::OutputFolder(std::string path, OutputFile::Existing existing)
    : path_(without_slash(std::move(path))), partial_(path_ + ".partial"), existing_(existing) {
  struct stat status {};
  if (::lstat(path_.c_str(), &status) == 0) {
    if (existing_ == OutputFile::Existing::refuse) throw already_exists(path_);
    require_replaceable_folder(path_);
  }
  open_partial();
}

OutputFolder::~OutputFolder() {
  if (descriptor_ < 0) return;
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
  ::close(descriptor_);
}

void OutputFolder::open_partial() {
  if (::mkdir(partial_.c_str(), 0777) != 0 && errno != EEXIST) fail("create", partial_, errno);
  const int descriptor = ::open(partial_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor < 0) fail("open", partial_, errno);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(descriptor);
    throw Error(fmt::format("{} is being written by another process", partial_));
  }
  descriptor_ = descriptor;
  std::error_code error;
  for (auto entry = fs::directory_iterator(partial_, error); !error && entry != fs::directory_iterator();
       entry.increment(error))
    fs::remove_all(entry->path(), error);
  if (error) fail("clear", partial_, error.value());
}

void OutputFolder::write(std::string_view name, std::string_view text) { write_file(file(name), text); }

void OutputFolder::commit() {
  EDGEQ_CHECK(descriptor_ >= 0, "a folder is committed once");
  ::fsync(descriptor_);
  std::error_code ignored;
  if (existing_ == OutputFile::Existing::replace && fs::exists(path_, ignored))
    require_replaceable_folder(path_);
  const int failed = rename_whole(partial_, path_, existing_);
  if (failed == EEXIST && existing_ == OutputFile::Existing::refuse) throw already_exists(path_);
  if (failed != 0) fail("rename to its final name", partial_, failed);
  ::close(std::exchange(descriptor_, -1));
}

}  // namespace edgeq
