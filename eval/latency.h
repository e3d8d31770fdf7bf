// SPDX-License-Identifier: Apache-2.0
// Speed of a model in this process. Figures for reports are taken in a child process (edgeq-run) that has no
// LibTorch.
#pragma once

#include <cstdint>
#include <string>

#include "models/language_model.h"

namespace edgeq {

struct LatencyOptions {
  int64_t prompt_tokens = 512, tokens = 128;
  int repeats = 3;          // medians are reported
  int threads = 0;          // for the bandwidth probe: the threads the model runs on
  int64_t seen_tokens = 0;  // whose keys and values a token reads at most; 0: all before it
};

struct Latency {
  int64_t prompt_tokens = 0, tokens = 0;
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;  // medians over repeats
  double first_token_ms = 0;  // prefill of the prompt and one decode step
  double token_ms_p50 = 0, token_ms_p99 = 0;
  double bytes_per_token =
      0;  // weights read by one decode step, and what it sees of the KV cache at half the run
  double decode_bytes_per_second = 0,
         read_bandwidth = 0;  // bytes/s; the probe runs on the same number of threads
  // Multiply-adds of prefill in the layers' matrices, and of the kernels' instructions on registers alone;
  // per second, 0: not measured.
  double prefill_multiplies_per_second = 0, int8_peak = 0;
  int threads = 0;
  int64_t peak_rss_bytes = 0;  // of the process when the model had run, before the bandwidth probe
};

Latency measure_latency(const LanguageModel& model, const LatencyOptions& options);

// Best of several timed reads of `bytes` of memory by `threads` threads, bytes per second: plain, prefetched
// and, where the system has them, from huge pages.
double probe_read_bandwidth(int64_t bytes, int threads);

}  // namespace edgeq
