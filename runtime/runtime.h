// SPDX-License-Identifier: Apache-2.0
// The reference runtime: runs packed INT4/INT8/float models without LibTorch, HDF5, OpenMP or YAML.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "models/activations.h"
#include "models/import.h"
#include "models/kv_scheme.h"
#include "models/language_model.h"
#include "models/packed_model.h"
#include "models/tokenizer.h"
#include "runtime/reach.h"

namespace edgeq {

struct RuntimeOptions {
  int threads = 0;  // 0: the cores this process may run on
  // What weights with codes read. f32: they are decoded and multiplied in float; slow, exact, for checking.
  // Unset: what the packed file says, else int8_block.
  std::optional<Activations> activations = std::nullopt;
  std::optional<KvScheme> kv = std::nullopt;  // unset: what the packed file says, else f32
  Reach reach = {};
  bool verify_checksums = true;
  std::string isa = {};  // kernels by name; empty: $EDGEQ_ISA, or the best this CPU runs
};

// A packed file, mapped and run without a copy. Throws Error for int8_static when a weight with codes has no
// scale for its inputs, and for a reach that the model has no room for.
std::unique_ptr<LanguageModel> open_packed_runtime(const std::string& path, const RuntimeOptions& options);
// The same for a file that is open already; its checksums are the opener's affair.
std::unique_ptr<LanguageModel> open_packed_runtime(std::shared_ptr<const PackedModel> file,
                                                   const RuntimeOptions& options);
// Float weights of any checkpoint, repacked in memory: as f32, or as 16-bit where the checkpoint's values are
// exact in it.
std::unique_ptr<LanguageModel> open_float_runtime(const Checkpoint& checkpoint,
                                                  const RuntimeOptions& options);

// The kernels in use: "amx", "avx512vnni", "avx2", "neondot", "scalar".
std::string active_isa();

// Multiply-adds of int8 a second that those kernels' instruction set reaches on registers alone, best of
// several timed loops on `threads` threads.
double probe_int8_peak(int threads);

}  // namespace edgeq
