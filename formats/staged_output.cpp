// SPDX-License-Identifier: Apache-2.0
#include "formats/staged_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "formats/output_folder.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

int rename_to(const std::string& from, const std::string& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

}  // namespace

StagedOutput::StagedOutput(std::string path, OutputFile::Existing existing)
    : path_(std::move(path)), existing_(existing) {
  while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  staged_ = path_ + ".unverified";
  std::error_code ignored;
  if (existing_ == OutputFile::Existing::refuse && fs::exists(fs::symlink_status(path_, ignored)))
    throw Error(fmt::format("{}: already exists", path_)).set_hint("add --overwrite to replace it");
  if (fs::is_directory(path_, ignored)) require_replaceable_folder(path_);
  fs::remove_all(staged_, ignored);
}

StagedOutput::~StagedOutput() {
  std::error_code ignored;
  fs::remove_all(staged_, ignored);
}

void StagedOutput::publish() {
  const bool replaces = existing_ == OutputFile::Existing::replace;
  std::error_code ignored;
  const bool folder = fs::is_directory(staged_, ignored), there = fs::exists(path_, ignored);
  if (replaces && there && folder != fs::is_directory(path_, ignored))
    throw Error(fmt::format("{} is {}; expected {} to replace", path_, folder ? "a file" : "a folder",
                            folder ? "a folder" : "a file"));
  if (replaces && there && folder) require_replaceable_folder(path_);
  int failed = 0;
  if (!replaces) {
    failed = rename_to(staged_, path_, RENAME_NOREPLACE);
  } else if (folder && there) {
    failed =
        rename_to(staged_, path_, RENAME_EXCHANGE);  // the old one is now the staged one, and goes with it
  } else {
    failed = rename_to(staged_, path_, 0);
  }
  if (failed == EEXIST) throw Error(fmt::format("{}: already exists", path_));
  if (failed != 0)
    throw Error(fmt::format("cannot rename {} to its final name: {}", staged_,
                            std::generic_category().message(failed)));
}

}  // namespace edgeq
