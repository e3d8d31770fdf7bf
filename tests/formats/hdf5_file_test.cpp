// SPDX-License-Identifier: Apache-2.0
#include "formats/hdf5_file.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

// An object's header begins "OHDR", version 2, flags; flag 0x20 says that four times follow (HDF5 File Format
// Specification 3.0, IV.A.1.b).
TEST(Hdf5File, NoTimeIsWrittenSoThatEqualContentsAreEqualBytes) {
  const TempDir dir;
  const std::string path = dir.file("a.h5");
  {
    Hdf5Group file = create_hdf5(path);
    file.create_group("inner").write("numbers", Tensor(DType::f32, {3}).view(), Hdf5Group::Packing::none);
    file.flush();
  }
  const std::string bytes = read_text_file(path);
  int headers = 0;
  for (size_t at = bytes.find("OHDR\x02"); at != std::string::npos; at = bytes.find("OHDR\x02", at + 1)) {
    EXPECT_EQ(bytes[at + 5] & 0x20, 0) << "the object at byte " << at;
    ++headers;
  }
  EXPECT_EQ(headers, 3) << "the root, a group, an array";
}

}  // namespace
}  // namespace edgeq
