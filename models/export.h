// SPDX-License-Identifier: Apache-2.0
// A compressed model as a file of another tool, code for code: nothing is quantized again, and what the other
// format cannot express is refused instead of approximated.
//
// GGUF, for llama.cpp: all families (models/family.h). A scheme is written as the block type that holds it
// exactly; groups of a multiple of 32 become blocks of 32 with equal scales:
//   int4-*-sym -> Q4_0   int4-*-offset -> Q4_1   int8-*-sym -> Q8_0   (scales in f16)
// Float weights keep their type, norms, biases and positions are F32, a tied head is left out where the
// architecture knows tied heads and written twice where it does not. Matrices that the architecture fuses
// have one type. Rows of q and k are put in interleaved rotary order where it wants that. The context length
// is cut to the sliding window where llama.cpp attends to everything.
#pragma once

#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/output_file.h"
#include "models/coded_model.h"
#include "models/tokenizer_data.h"

namespace edgeq {

// Returns the file's bytes. Throws Error naming the site and its scheme, or the feature of the config or of
// the tokenizer, that GGUF cannot hold.
int64_t export_gguf(const CodedModel& model, const std::string& path,
                    OutputFile::Existing existing = OutputFile::Existing::refuse);

// The config as metadata. check throws Error naming the choice that the architecture's name does not stand
// for.
void check_gguf_config(const ModelConfig& config);
void set_gguf_config(GgufWriter& writer, const ModelConfig& config);
// Rope divisors that are written as a tensor, since they are not one factor for all.
bool gguf_own_divisors(const ModelConfig& config);
// What the file will not say: a cut context, and what GGUF has no place for in the tokenizer's rules.
std::vector<std::string> gguf_notes(const CodedModel& model);
std::vector<std::string> gguf_tokenizer_notes(const TokenizerData& tokenizer);

// The tokenizer section of a GGUF file, padded to `vocab` tokens as the embedding has rows.
void set_gguf_tokenizer(GgufWriter& writer, const TokenizerData& tokenizer, int64_t vocab);

}  // namespace edgeq
