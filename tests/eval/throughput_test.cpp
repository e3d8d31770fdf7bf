// SPDX-License-Identifier: Apache-2.0
#include "eval/throughput.h"

#include <gtest/gtest.h>

#include "runtime/runtime.h"
#include "tests/support/message.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {
namespace {

TEST(Throughput, IsMeasuredForPowersOfTwoAndTheMost) {
  const TinyCheckpoint checkpoint(tiny_config());
  const auto model = open_float_runtime(checkpoint, {.threads = 1});
  const auto all = measure_throughput(*model, {.prompt_tokens = 40, .tokens = 5, .repeats = 2}, 6);
  ASSERT_EQ(all.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(all[i].sequences, (std::vector<int64_t>{1, 2, 4, 6})[i]);
    EXPECT_GT(all[i].decode_tokens_per_second, 0);
    EXPECT_GT(all[i].prefill_tokens_per_second, 0);
  }
  EXPECT_GT(all[3].pool_bytes, all[0].pool_bytes);
}

TEST(Throughput, RefusesNoSequences) {
  const TinyCheckpoint checkpoint(tiny_config());
  const auto model = open_float_runtime(checkpoint, {.threads = 1});
  EXPECT_EQ(error_of([&] { measure_throughput(*model, {}, 0); }), "0 sequences; expected at least 1");
}

}  // namespace
}  // namespace edgeq
