// SPDX-License-Identifier: Apache-2.0
#include "recipe/device_manifest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace edgeq {
namespace {

double tenths(double value) { return std::round(10 * value) / 10; }

}  // namespace

std::string manifest_json(const DeviceManifest& m) {
  const Device& d = m.device;
  const double bound = d.bandwidth / double(m.bytes_per_token);
  nlohmann::ordered_json j{
      {"edgeq", m.version},
      {"device", d.title},
      {"architecture", d.architecture},
      {"features", fmt::format("{}", fmt::join(d.features, " "))},
      {"kernels", d.kernels},
      {"threads", d.threads},
      {"model", m.model},
      {"scheme", m.scheme},
      {"layout", m.layout},
      {"layout_note", "portable: every kernel runs it where it is mapped; no device has a layout of its own"},
      {"context", m.needs.context},
      {"file_bytes", m.needs.file_bytes},
      {"kv_bytes", m.needs.kv_bytes},
      {"peak_memory_bytes", m.needs.total()},
      {"usable_memory_bytes", d.usable_bytes()},
      {"bytes_per_token", m.bytes_per_token},
      {"decode_tokens_per_second_bound", tenths(bound)},
      {"decode_tokens_per_second_expected", tenths(bound * d.reached_bandwidth)},
      {"prompt", m.prompt},
      {"tokens", m.tokens},
      {"sources", {{"cpu", d.cpu_source}, {"memory", d.memory_source}, {"bandwidth", d.bandwidth_source}}}};
  if (m.quality) {
    j["perplexity"] = m.quality->perplexity;
    j["perplexity_text"] = m.quality->text;
    j["perplexity_text_hash"] = m.quality->text_hash;
    j["perplexity_context"] = m.quality->context;
    j["perplexity_predictions"] = m.quality->predictions;
  }
  for (const auto& [file, sum] : m.sha256) j["sha256"][file] = sum;
  return j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace edgeq
