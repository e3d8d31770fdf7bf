// SPDX-License-Identifier: Apache-2.0
// One measurement as one JSON object, with the keys that programs outside rely on: perplexity,
// perplexity_all, kl_mean, kl_p99, top1_agreement, file_bytes, bits_per_weight, prefill_tokens_per_second,
// decode_tokens_per_second, peak_rss_bytes; accuracy, accuracy_norm, stderr.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/latency.h"
#include "eval/perplexity.h"
#include "eval/tasks.h"
#include "eval/throughput.h"

namespace edgeq {

// What is known of a model besides its measurement.
struct ModelFacts {
  std::string model;  // path as given
  std::string isa;    // kernels that ran, "" for another engine
  int64_t file_bytes = 0, weight_bytes = 0;
  std::string kv = "f32";     // how keys and values are kept
  std::string reach = "all";  // the tokens before it that a token sees, with layers' own windows aside
  int64_t kv_bytes_per_token = 0;
  double bits_per_weight = 0;
  int64_t peak_rss_bytes = 0;
};

// What `edgeq eval` measured of one model.
struct Evaluation {
  std::optional<TextQuality> text;
  bool calibrated_on_text = false;                // the model was, as its file says
  std::vector<TaskScore> tasks, reference_tasks;  // the latter empty without a reference
};

// With "throughput": a list of objects {sequences, prefill_tokens_per_second, decode_tokens_per_second,
// step_ms_p50, pool_bytes}.
std::string throughput_json(const std::vector<Throughput>& throughput, const ModelFacts& facts);
std::string latency_json(const Latency& latency, const ModelFacts& facts);
// `tasks` is a list of objects, one a task: task, items, accuracy, stderr, accuracy_norm, stderr_norm and,
// with a reference, reference_accuracy, accuracy_difference, accuracy_difference_stderr and the same with
// _norm. The fields of a single task stand at the top as well.
std::string evaluation_json(const Evaluation& evaluation, const ModelFacts& facts);

// The inverse of latency_json: what a child process measured. Throws Error when the text is not such an
// object.
struct MeasuredLatency {
  Latency latency;
  ModelFacts facts;
};
MeasuredLatency parse_latency_json(std::string_view text);

// Hashes of the texts that a packed file's provenance says it was calibrated on.
std::vector<std::string> calibration_hashes(std::string_view provenance);

}  // namespace edgeq
