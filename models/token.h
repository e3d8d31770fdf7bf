// SPDX-License-Identifier: Apache-2.0
// The number of a token in its vocabulary.
#pragma once

#include <cstdint>

namespace edgeq {

using TokenId = int32_t;

}  // namespace edgeq
