// SPDX-License-Identifier: Apache-2.0
// Any path that names a model -> something that runs, with what reports say about it. Runtime only: both
// binaries use it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "eval/json.h"
#include "models/corpus.h"
#include "models/import.h"
#include "models/language_model.h"
#include "models/packed_model.h"
#include "models/tokenizer.h"
#include "runtime/runtime.h"

namespace edgeq {

struct OpenModel {
  std::string path;
  std::unique_ptr<LanguageModel> model;
  Tokenizer tokenizer;
  int64_t file_bytes = 0;
  double bits_per_weight = 0;                        // as stored
  KvScheme kv;                                       // how it keeps keys and values
  Reach reach = {};                                  // how far back it sees
  std::vector<std::string> calibration_hashes = {};  // of the texts that a packed file was calibrated on
};

// A packed file, or a checkpoint run in float. Throws Error when the path is neither.
OpenModel open_runtime_model(const std::string& path, const RuntimeOptions& options);

// A checkpoint that some engine has opened, with what its file says of it.
OpenModel describe(const std::string& path, const Checkpoint& checkpoint,
                   std::unique_ptr<LanguageModel> model);

// The same of one that no file holds, as if one of so many bytes did.
OpenModel open_unwritten(const Checkpoint& checkpoint, int64_t bytes, const RuntimeOptions& options);

// Throws Error when the two turn a text into different tokens: `corpus` is it in those of `open`. Tokenizers
// may differ in what the text does not contain, or in a step that their merges make idle.
void check_same_tokens(const OpenModel& other, const OpenModel& open, const std::string& text,
                       const Corpus& corpus);

// What reports say of it before anything is measured.
ModelFacts facts_of(const OpenModel& open);

// Bytes that a checkpoint's weights take as stored, per weight, in bits.
double stored_bits_per_weight(const Checkpoint& checkpoint);

}  // namespace edgeq
