// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>

#include "core/error.h"

namespace edgeq {

// The main function of a program of ./dev interop: 0, or 1 after a line that says what went wrong.
template <class Run>
int run_main(const char* program, Run&& run) {
  try {
    run();
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    return 1;
  }
}

}  // namespace edgeq
