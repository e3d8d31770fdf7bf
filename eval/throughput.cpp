// SPDX-License-Identifier: Apache-2.0
#include "eval/throughput.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/random.h"
#include "core/timer.h"
#include "eval/statistics.h"

namespace edgeq {
namespace {

struct Run {
  double prefill_seconds = 0;
  std::vector<double> steps;  // of decoding
  int64_t pool_bytes = 0;
};

// Every sequence has its first token before decoding is timed.
Run run_once(const LanguageModel& model, const LatencyOptions& options, int64_t sequences) {
  // The first token beside those whose making is timed.
  const auto batch = model.start_batch(
      {.sequences = sequences, .sequence_tokens = options.prompt_tokens + options.tokens + 1});
  Random random(0);
  int64_t begun = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    BatchRequest request{.tokens = options.tokens + 1};
    for (int64_t i = 0; i < options.prompt_tokens; ++i)
      request.prompt.push_back(TokenId(random.below(uint64_t(model.config().vocab))));
    request.next = [&begun, random = Random(uint64_t(s + 1)),
                    made = int64_t{0}](std::span<const float> logits) mutable -> std::optional<TokenId> {
      begun += made++ == 0 ? 1 : 0;
      return TokenId(random.below(logits.size()));
    };
    batch->submit(std::move(request));
  }
  Run run;
  const Timer prefill;
  while (begun < sequences) batch->step();
  run.prefill_seconds = prefill.seconds();
  run.pool_bytes = batch->stats().pool_bytes;
  while (batch->running() == sequences) {
    const Timer step;
    batch->step();
    run.steps.push_back(step.seconds());
  }
  return run;
}

Throughput measure(const LanguageModel& model, const LatencyOptions& options, int64_t sequences) {
  std::vector<double> prefill, decode, steps;
  Throughput result{.sequences = sequences};
  for (int i = 0; i < options.repeats; ++i) {
    const Run run = run_once(model, options, sequences);
    double seconds = 0;
    for (const double s : run.steps) seconds += s;
    prefill.push_back(double(sequences * options.prompt_tokens) / run.prefill_seconds);
    decode.push_back(double(sequences * std::ssize(run.steps)) / seconds);
    steps.insert(steps.end(), run.steps.begin(), run.steps.end());
    result.pool_bytes = run.pool_bytes;
  }
  result.prefill_tokens_per_second = median(prefill);
  result.decode_tokens_per_second = median(decode);
  result.step_ms_p50 = median(steps) * 1e3;
  return result;
}

}  // namespace

std::vector<Throughput> measure_throughput(const LanguageModel& model, const LatencyOptions& options,
                                           int64_t most) {
  if (most < 1) throw Error(fmt::format("{} sequences; expected at least 1", most));
  std::vector<Throughput> results;
  for (int64_t sequences = 1; sequences < most; sequences *= 2)
    results.push_back(measure(model, options, sequences));
  results.push_back(measure(model, options, most));
  return results;
}

}  // namespace edgeq
