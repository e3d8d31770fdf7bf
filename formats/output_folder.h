// SPDX-License-Identifier: Apache-2.0
// A folder that exists under its final name only when it is whole: files are written into "<path>.partial",
// which commit() renames; without commit() the destructor removes it, and one that a killed run left behind
// is taken over. See output_file.h, which does the same for a file.
#pragma once

#include <string>
#include <string_view>

#include "formats/output_file.h"

namespace edgeq {

// "folder/" -> "folder"; "/" stays.
std::string without_slash(std::string path);

// Throws Error unless `path` is a folder of files with a config.json (of Hugging Face) or a model.packed (of
// a device). Nothing else is ever replaced, since replacing removes: a mistyped path must not cost a home.
void require_replaceable_folder(const std::string& path);

class OutputFolder {
 public:
  // Throws Error: the path exists (Existing::refuse), or is not replaceable (Existing::replace); another
  // process is writing it.
  explicit OutputFolder(std::string path, OutputFile::Existing existing = OutputFile::Existing::refuse);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::string& path() const { return path_; }
  // Where a file of the folder is written until commit().
  std::string file(std::string_view name) const { return partial_ + "/" + std::string(name); }
  void write(std::string_view name, std::string_view text);
  // Puts the folder under its name, in the place of one that is there (Existing::replace).
  void commit();

 private:
  void open_partial();

  std::string path_, partial_;
  OutputFile::Existing existing_;
  int descriptor_ = -1;  // of the partial folder, locked
};

}  // namespace edgeq
