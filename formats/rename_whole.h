// SPDX-License-Identifier: Apache-2.0
// The last step of every output, file or folder: a finished one gets its final name, and there is no moment
// without a whole one under it.
#pragma once

#include <string>

#include "formats/output_file.h"

namespace edgeq {

// 0 or an errno; EEXIST when there is something of that name (Existing::refuse). With Existing::replace a
// file takes the place of a file; a folder is exchanged for the one that is there, which is then removed: ask
// require_replaceable_folder() first. The rename is on disk when this returns, where the file system can.
int rename_whole(const std::string& from, const std::string& to, OutputFile::Existing existing);

}  // namespace edgeq
