// SPDX-License-Identifier: Apache-2.0
// The message of the Error that `action` throws, for tests of what a user gets to read.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace edgeq {

template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an Error, but nothing was thrown";
  return {};
}

}  // namespace edgeq
