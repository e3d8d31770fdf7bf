// SPDX-License-Identifier: Apache-2.0
// What a device offers, and whether a packed model fits it: one value for what configs/devices/*.yaml say.
//
//   memory needed         = packed file (mapped) + KV cache of the context + working memory
//   decode, upper bound   = bandwidth / bytes that one token reads; decoding waits for memory, not for
//   arithmetic decode, expected      = the share of the bandwidth that decoding reaches on such devices, of
//   that bound
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgeq {

struct Device {
  std::string name;                   // file name without ending
  std::string title;                  // one line for people
  std::string architecture;           // as `uname -m` says it: "aarch64" | "x86_64"
  int64_t threads = 0;                // to run on: the fast cores
  std::vector<std::string> features;  // that the CPU must have, spelt as in /proc/cpuinfo
  std::string kernels;                // that then run: a name of `edgeq list isas`
  int64_t memory_bytes = 0;
  double usable_memory = 0;                                 // share of it that a model may take
  double bandwidth = 0;                                     // peak, bytes per second
  double reached_bandwidth = 0;                             // share of it that decoding reaches
  std::string cpu_source, memory_source, bandwidth_source;  // where the figures come from

  int64_t usable_bytes() const { return int64_t(double(memory_bytes) * usable_memory); }
};

// Every Error begins with "device FILE:LINE: ". `file` is used in messages and gives the name.
Device parse_device(std::string_view yaml, const std::string& file);
Device load_device(const std::string& path);

struct DeviceNeeds {
  int64_t context = 0;  // tokens
  int64_t file_bytes = 0, kv_bytes = 0, work_bytes = 0;
  int64_t total() const { return file_bytes + kv_bytes + work_bytes; }
};

// What runs besides the file and the cache: the program, the tokenizer's tables, and the activations of a
// piece of prompt. Measured as the peak resident set of `edgeq-run bench --threads 4` less file and
// cache: 8.5 MB (tiny-llama), 19 MB (SmolLM2, a prompt of 1024 tokens); the rest is room for larger
// vocabularies and wider layers.
inline constexpr int64_t kDeviceWorkBytes = 40'000'000;

// Throws Error with the figures when the device has less usable memory than the model needs.
void check_fits(const Device& device, const DeviceNeeds& needs, const std::string& model);

}  // namespace edgeq
