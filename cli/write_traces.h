// SPDX-License-Identifier: Apache-2.0
// A teacher answers prompts through the runtime's batch, and what it wrote is checked.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cli/open_model.h"
#include "cli/trace_journal.h"
#include "core/progress.h"
#include "distill/traces.h"
#include "runtime/sampler.h"

namespace edgeq {

struct TraceOptions {
  int64_t samples = 1;   // of each prompt
  int64_t tokens = 256;  // of each sample, at most
  int64_t parallel = 8;
  SamplerOptions sampler{.temperature = 0.8, .top_p = 0.95};
  std::vector<std::string> stops;  // texts that end a sample, and are not part of it
  TraceForm form;
};

// Item p * samples + s is sample s of prompt p. Writes those that the journal lacks; each depends on the seed
// and its item, not on how many are written together. A prompt that leaves no room in the context gives an
// empty trace without an end. Throws Error; Interrupted, and the journal has all that was finished.
void write_traces(const OpenModel& open, std::span<const Trace> prompts, const TraceOptions& options,
                  TraceJournal& journal, const Progress& progress);

struct TraceCounts {
  int64_t written = 0, kept = 0;
  int64_t right = 0, wrong = 0, no_answer = 0;  // of prompts whose answer can be checked, and that ended
  int64_t unchecked = 0;                        // of others, that ended
  int64_t too_long = 0;                         // that did not end
  int64_t duplicates = 0;                       // equal to an earlier one of the prompt: not kept
  std::vector<double> shares;                   // of right ones, for each prompt that can be checked
};

// The lines to keep of what was written, in the order of items; `keep_all`: wrong ones as well.
struct CheckedTraces {
  std::string lines;
  TraceCounts counts;
};
CheckedTraces check_traces(std::span<const Trace> prompts, const TraceJournal& journal, int64_t samples,
                           bool keep_all);

}  // namespace edgeq
