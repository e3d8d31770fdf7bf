// SPDX-License-Identifier: Apache-2.0
#include "eval/latency.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "core/timer.h"
#include "eval/memory.h"
#include "eval/statistics.h"

namespace edgeq {
namespace {

// The smallest value that at least `share` of all do not exceed.
double percentile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return values[size_t(std::ceil(share * double(values.size()))) - 1];
}

struct Run {
  double prefill_seconds = 0;
  std::vector<double> token_seconds;
  double decode_seconds() const {
    double sum = 0;
    for (const double s : token_seconds) sum += s;
    return sum;
  }
};

Run run_once(const LanguageModel& model, std::span<const TokenId> tokens, int64_t prompt) {
  const auto session = model.start({.max_tokens = std::ssize(tokens)});
  Run run;
  const Timer prefill;
  session->feed(tokens.first(size_t(prompt)), Logits::last);
  run.prefill_seconds = prefill.seconds();
  for (size_t i = size_t(prompt); i < tokens.size(); ++i) {
    const Timer step;
    session->feed(tokens.subspan(i, 1), Logits::last);
    run.token_seconds.push_back(step.seconds());
  }
  return run;
}

// The text does not matter for speed, but one token repeated would keep its table row in the cache.
std::vector<TokenId> random_tokens(int64_t count, int64_t vocab) {
  Random random(0);
  std::vector<TokenId> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(TokenId(random.below(uint64_t(vocab))));
  return tokens;
}

void check(const LatencyOptions& options) {
  const auto refuse = [](const char* what, int64_t found) {
    throw Error(fmt::format("{} is {}, expected at least 1", what, found));
  };
  if (options.prompt_tokens < 1) refuse("the number of prompt tokens", options.prompt_tokens);
  if (options.tokens < 1) refuse("the number of tokens", options.tokens);
  if (options.repeats < 1) refuse("the number of repeats", options.repeats);
}

}  // namespace

Latency measure_latency(const LanguageModel& model, const LatencyOptions& options) {
  check(options);
  const std::vector<TokenId> tokens =
      random_tokens(options.prompt_tokens + options.tokens, model.config().vocab);
  run_once(model, std::span(tokens).first(2), 1);  // pages, caches and threads are warm
  std::vector<double> prefill, decode, first, steps;
  for (int i = 0; i < options.repeats; ++i) {
    const Run run = run_once(model, tokens, options.prompt_tokens);
    prefill.push_back(double(options.prompt_tokens) / run.prefill_seconds);
    decode.push_back(double(options.tokens) / run.decode_seconds());
    first.push_back((run.prefill_seconds + run.token_seconds.front()) * 1e3);
    steps.insert(steps.end(), run.token_seconds.begin(), run.token_seconds.end());
  }

  Latency result{
      .prompt_tokens = options.prompt_tokens, .tokens = options.tokens, .threads = options.threads};
  result.prefill_tokens_per_second = median(prefill);
  result.decode_tokens_per_second = median(decode);
  result.first_token_ms = median(first);
  result.token_ms_p50 = percentile(steps, 0.5) * 1e3;
  result.token_ms_p99 = percentile(steps, 0.99) * 1e3;
  double seen = double(options.prompt_tokens) + double(options.tokens) / 2;
  if (options.seen_tokens != 0) seen = std::min(seen, double(options.seen_tokens));
  result.bytes_per_token = double(model.weight_bytes_per_token()) + double(model.kv_bytes_per_token()) * seen;
  result.decode_bytes_per_second = result.bytes_per_token * result.decode_tokens_per_second;
  result.peak_rss_bytes =
      peak_rss_bytes();  // the probe's own buffer, as large as what a token reads, does not count
  result.read_bandwidth = probe_read_bandwidth(int64_t(result.bytes_per_token), options.threads);
  return result;
}

}  // namespace edgeq
