// SPDX-License-Identifier: Apache-2.0
// What keeping keys and values in each of several ways adds to the divergence from the same model with f32
// ones. Activations are floats: where they are int8, any change of the cache moves their roundings as well,
// and even f16 seems to cost what those are worth (docs/quality.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/reach.h"

namespace edgeq {

// What "--kv sweep" means.
inline const std::vector<std::string> kKvSweep = {"f16", "k8v8", "k8v4", "k4v4"};

struct KvSweep {
  std::string model, text;
  std::vector<std::string> kv;
  int64_t context = 512, windows = 0;
  int threads = 0;
  Reach reach = {};
  bool json = false, quiet = false;
};

// Prints one table, or a JSON list of evaluations.
void sweep_kv(const KvSweep& sweep);

}  // namespace edgeq
