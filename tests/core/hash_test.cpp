// SPDX-License-Identifier: Apache-2.0
#include "core/hash.h"

#include <gtest/gtest.h>

namespace edgeq {
namespace {

TEST(Hash, IsXxh3AsItsAuthorsPublishIt) {
  // XXH3-128 of the empty input with seed 0, from the xxHash specification.
  EXPECT_EQ(content_hash(""), "99aa06d3014798d86001c324468d497f");
}

TEST(Hash, PiecesGiveTheHashOfTheWhole) {
  const std::string text(1000, 'x');
  Hasher hasher;
  hasher.add(std::string_view(text).substr(0, 17)).add(std::string_view(text).substr(17));
  EXPECT_EQ(hasher.digest(), content_hash(text));
  EXPECT_NE(hasher.digest(), content_hash(text + "x"));
}

}  // namespace
}  // namespace edgeq
