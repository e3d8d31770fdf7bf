// SPDX-License-Identifier: Apache-2.0
// Calibration statistics cached in HDF5 (opens in h5py and HDFView). Layout, version 1:
//   /                 attributes format = "edgeq-stats", version, and the fields of StatsKey
//   /<input name>     a group per stage or end, attribute tokens = rows seen
//   /<input name>/abs_max | mean | square_mean [d], hessian [d, d] when collected: 32-bit floats, each chunk
//                     with a Fletcher-32 checksum, so that damage is found when it is read
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "calibration/stats.h"

namespace edgeq {

// What the statistics were collected from. A cache is valid only for an equal key.
struct StatsKey {
  std::string model_hash, corpus_name, corpus_hash;
  int64_t windows = 0, window_tokens = 0;
  std::string tool_version;
  friend bool operator==(const StatsKey&, const StatsKey&) = default;
};

using StatsMap = std::map<std::string, InputStats>;  // "layers.3.qkv", "layers.3.o", ..., "head"

// Written under a temporary name beside `path` and renamed, so that `path` never holds half a file. Names
// have no slash. Throws Error naming the file. Not thread-safe (the HDF5 library is not).
void write_stats(const std::string& path, const StatsKey& key, const StatsMap& stats);

// Throws Error naming the file and what is damaged.
StatsKey read_stats_key(const std::string& path);

// Throws Error naming the file and the first field of the key that differs (found and expected), or what is
// damaged.
StatsMap read_stats(const std::string& path, const StatsKey& expected);

}  // namespace edgeq
