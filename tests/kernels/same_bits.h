// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

namespace edgeq {

// Bit for bit: float comparison would let -0 pass for 0 and refuse equal NaNs.
inline void expect_same_bits(const std::vector<float>& actual, const std::vector<float>& expected,
                             const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i]))
        << what << ": element " << i << " is " << actual[i] << ", scalar gives " << expected[i];
}

}  // namespace edgeq
