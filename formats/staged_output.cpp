// SPDX-License-Identifier: Apache-2.0
#include "formats/staged_output.h"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "formats/output_folder.h"
#include "formats/rename_whole.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

}  // namespace

void refuse_existing(const std::string& output) {
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(output, ignored)))
    throw Error(fmt::format("{}: already exists", output)).set_hint("add --overwrite to replace it");
}

StagedOutput::StagedOutput(std::string path, OutputFile::Existing existing)
    : path_(without_slash(std::move(path))), staged_(path_ + ".unverified"), existing_(existing) {
  std::error_code ignored;
  if (existing_ == OutputFile::Existing::refuse) refuse_existing(path_);
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
  const int failed = rename_whole(staged_, path_, existing_);
  if (failed == EEXIST && !replaces) throw Error(fmt::format("{}: already exists", path_));
  if (failed != 0)
    throw Error(fmt::format("cannot rename {} to its final name: {}", staged_,
                            std::generic_category().message(failed)));
}

}  // namespace edgeq
