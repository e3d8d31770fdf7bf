// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace edgeq {
namespace {

TEST(Error, ContextsReadFromTheOutsideIn) {
  try {
    with_context("model.gguf", [] {
      with_context("layers.3.mlp.down_proj",
                   [] { throw Error("group 128 does not divide 576 columns").set_hint("use g64"); });
    });
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "model.gguf: layers.3.mlp.down_proj: group 128 does not divide 576 columns");
    EXPECT_EQ(error.hint(), "use g64");
  }
}

TEST(Error, ContextKeepsTheTypeAndTheResult) {
  EXPECT_THROW(with_context("file", [] { throw Interrupted(); }), Interrupted);
  EXPECT_EQ(with_context("file", [] { return 7; }), 7);
}

TEST(Error, CheckThrowsABugThatNamesThePromise) {
  const int sites = 0;
  EXPECT_THAT([&] { EDGEQ_CHECK(sites == 1, "a stage has sites"); },
              testing::ThrowsMessage<Bug>(testing::HasSubstr("a stage has sites (sites == 1)")));
}

}  // namespace
}  // namespace edgeq
