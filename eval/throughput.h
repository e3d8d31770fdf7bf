// SPDX-License-Identifier: Apache-2.0
// Tokens per second of several sequences that are generated together from one pool of pages (models/batch.h).
#pragma once

#include <cstdint>
#include <vector>

#include "eval/latency.h"
#include "models/language_model.h"

namespace edgeq {

struct Throughput {
  int64_t sequences = 0;
  double prefill_tokens_per_second = 0,
         decode_tokens_per_second = 0;  // of all together, medians over repeats
  double step_ms_p50 = 0;               // one token of each sequence
  int64_t pool_bytes = 0;
};

// 1, 2, 4 ... sequences up to `most`, and `most`: each with a prompt and tokens of its own, as many as
// `options` says. Throws Error for options out of range or an engine without batches.
std::vector<Throughput> measure_throughput(const LanguageModel& model, const LatencyOptions& options,
                                           int64_t most);

}  // namespace edgeq
