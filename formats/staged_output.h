// SPDX-License-Identifier: Apache-2.0
// A finished file or folder that is not believed yet. It is written and checked under "<path>.unverified" and
// gets its name only from publish(); without it, the destructor removes what was staged and whatever had the
// name before is untouched.
#pragma once

#include <string>

#include "formats/output_file.h"

namespace edgeq {

// For work that takes long before it opens its output. Throws Error when there is something of that name.
void refuse_existing(const std::string& output);

class StagedOutput {
 public:
  // Throws Error when the path exists (Existing::refuse) or is a folder that must not be replaced
  // (formats/output_folder.h). What an earlier run left staged is removed.
  StagedOutput(std::string path, OutputFile::Existing existing);
  ~StagedOutput();
  StagedOutput(const StagedOutput&) = delete;
  StagedOutput& operator=(const StagedOutput&) = delete;

  const std::string& path() const { return path_; }
  const std::string& staged_path() const { return staged_; }
  // One rename, so that there is no moment without a whole output. A folder that is replaced is removed
  // after. Throws Error when the path has come into being meanwhile (Existing::refuse), or has another kind.
  void publish();

 private:
  std::string path_, staged_;
  OutputFile::Existing existing_;
};

}  // namespace edgeq
