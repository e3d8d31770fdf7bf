// SPDX-License-Identifier: Apache-2.0
// A checkpoint on disk, whatever its format, as config + tokenizer + float weights under edgeq's own names.
// Weights are decoded from the mapped file at each request, and its pages are let go behind the reading; no
// more is kept than the codes of one layer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/quantized_tensor.h"
#include "core/tensor.h"
#include "models/block.h"
#include "models/config.h"
#include "models/tokenizer.h"

namespace edgeq {

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual const std::string& path() const = 0;
  virtual const ModelConfig& config() const = 0;
  virtual Tokenizer tokenizer() const = 0;
  // Hash of config, tensor names, shapes, encodings and bytes: the model's identity in cache keys and
  // provenance. Computed once.
  virtual std::string hash() const = 0;
  virtual int64_t file_bytes() const = 0;

  virtual bool has(std::string_view name) const = 0;
  // f32 in edgeq's conventions: [out, in], q/k rows in half-split rotary order. Throws Error: missing, wrong
  // shape, NaN or Inf.
  virtual Tensor load(std::string_view name) const = 0;
  // Rows [first, first + count) of a matrix only, for tables too large to decode whole.
  virtual Tensor load_rows(std::string_view name, int64_t first, int64_t count) const = 0;
  // The grid of a weight that the file holds as codes, and those codes, rows in edgeq's order. nullopt for
  // floats, and for codes whose grid no scheme describes. Throws Error: missing, a scale that is NaN or Inf.
  virtual std::optional<QuantScheme> scheme(std::string_view /*name*/) const { return std::nullopt; }
  virtual std::optional<QuantizedTensor> codes(std::string_view /*name*/) const { return std::nullopt; }
  // Stored bits per weight of a tensor, for reports ("BF16", "Q4_1").
  virtual std::string encoding(std::string_view name) const = 0;
};

// A Hugging Face folder, quantized by GPTQ, AWQ or compressed-tensors or not, or a .gguf file. Checks that
// every tensor the config calls for is present with the right shape before it returns, and that there is no
// tensor that the config does not call for; messages name the file and the tensor. Pickled checkpoints (.bin,
// .pt) are refused with a hint. A tied folder that also stores a head is tied when head and table are equal,
// and untied when they differ (as in transformers).
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path);

// The blocks and ends of a checkpoint in the compressor's form.
Block load_block(const Checkpoint& checkpoint, int block);
Ends load_ends(const Checkpoint& checkpoint);

}  // namespace edgeq
