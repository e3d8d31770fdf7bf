// SPDX-License-Identifier: Apache-2.0
// The binaries and the model that the tests of the command line run, and what came of a run.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "tests/support/temp_dir.h"

namespace edgeq {

inline const std::string kEdgeq = EDGEQ_BINARY, kEdgeqRun = EDGEQ_RUN_BINARY;
inline const std::string kTiny = std::string(EDGEQ_SOURCE_DIR) + "/configs/models/tiny-llama";
inline const std::string kTinyText = kTiny + "/calibration.txt", kTinyHeldOut = kTiny + "/heldout.txt";

struct Outcome {
  int code = -1;
  std::string out, err;
};

// Runs a shell command line; both streams are kept apart.
inline Outcome run(const std::string& command) {
  const TempDir dir;
  const std::string line = "{ " + command + " ; } >" + dir.file("out") + " 2>" + dir.file("err");
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_text_file(dir.file("out")),
          read_text_file(dir.file("err"))};
}

inline Outcome edgeq(const std::string& arguments) { return run(kEdgeq + " " + arguments); }

// The command, terminated as soon as the journal of `output` holds its first block. Exit code 0: it was done
// before the signal reached it.
inline Outcome edgeq_interrupted(const std::string& arguments, const std::string& output) {
  return run(
      "( exec " + kEdgeq + " " + arguments + " ) & child=$!; while [ ! -e " + output +
      ".work/layers.0.safetensors ] && kill -0 $child 2>/dev/null; do sleep 0.01; done; kill -TERM $child; "
      "wait $child");
}

// One line for people: the program's name, then the message; a second line only for a hint.
inline void expect_error(const Outcome& o, const std::string& says) {
  EXPECT_EQ(o.code, 1) << o.err;
  EXPECT_THAT(o.err, testing::AllOf(testing::StartsWith("edgeq"), testing::HasSubstr(says)));
  const auto lines = std::count(o.err.begin(), o.err.end(), '\n');
  EXPECT_TRUE(lines == 1 || (lines == 2 && o.err.find("\nhint: ") != std::string::npos)) << o.err;
}

}  // namespace edgeq
