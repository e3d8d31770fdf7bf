// SPDX-License-Identifier: Apache-2.0
// What sequences of texts and of traces have in common.
#pragma once

#include "distill/sequences.h"

namespace edgeq {

// The epoch whose order says which documents are held out; no epoch of training has its number.
constexpr int64_t kHeldOutEpoch = -1;

// Throw Error as sequences_of_texts says.
void check_options(const DataOptions& options);
void check_dataset(const Dataset& data, const DataOptions& options);

}  // namespace edgeq
