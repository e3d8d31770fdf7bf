// SPDX-License-Identifier: Apache-2.0
// A compressed model as a file of another tool, code for code: nothing is quantized again, and what the other
// format cannot express is refused instead of approximated.
//
// GGUF, for llama.cpp: architecture llama, qwen2 or qwen3. A scheme is written as the block type that holds
// it exactly; groups of a multiple of 32 become blocks of 32 with equal scales:
//   int4-*-sym -> Q4_0   int4-*-offset -> Q4_1   int8-*-sym -> Q8_0   (scales in f16)
// Float weights keep their type, norms and biases are F32, a tied head is left out. Rows of q and k are put
// in interleaved rotary order for architecture llama. The context length is cut to the sliding window, since
// llama.cpp attends to everything in these architectures.
#pragma once

#include <string>

#include "formats/gguf.h"
#include "formats/output_file.h"
#include "models/coded_model.h"
#include "models/tokenizer_data.h"

namespace edgeq {

// Returns the file's bytes. Throws Error naming the site and its scheme, or the feature of the config or of
// the tokenizer, that GGUF cannot hold.
int64_t export_gguf(const CodedModel& model, const std::string& path,
                    OutputFile::Existing existing = OutputFile::Existing::refuse);

// The tokenizer section of a GGUF file, padded to `vocab` tokens as the embedding has rows.
void set_gguf_tokenizer(GgufWriter& writer, const TokenizerData& tokenizer, int64_t vocab);

}  // namespace edgeq
