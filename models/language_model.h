// SPDX-License-Identifier: Apache-2.0
// What evaluation sees of any engine: tokens in, logits out. The LibTorch float model and the packed runtime
// both are this, so that float and packed figures come from the same code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "models/batch.h"
#include "models/blockwise_model.h"
#include "models/config.h"

namespace edgeq {

enum class Logits : uint8_t { none, last, all };

struct SessionOptions {
  int64_t max_tokens = 0;  // room in the KV cache; 0 = the model's context
};

// The beginning of a sequence with its keys and values, as bytes that only an engine of the same model, KV
// scheme and build of the cache can take.
struct SessionState {
  std::vector<TokenId> tokens;
  std::vector<std::byte> keys_values;
};

// One sequence and its KV cache. Not thread-safe; sessions of one model may run on different threads.
class Session {
 public:
  virtual ~Session() = default;
  // Appends tokens. Returns logits [0 | 1 | tokens, vocab], valid until the next feed. Throws Error for a
  // token id outside the vocabulary or when the cache is full.
  virtual MatrixView<const float> feed(std::span<const TokenId> tokens, Logits logits) = 0;
  // Forgets all but the first `tokens` tokens.
  virtual void truncate(int64_t tokens) = 0;
  virtual int64_t length() const = 0;
  // All of it so far; and back: becomes the first `tokens` tokens of a state. Throw Error where the engine
  // cannot, where the state is of another size than it must have, or where there is no room for it.
  virtual SessionState save() const;
  virtual void restore(const SessionState& state, int64_t tokens);
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  virtual const ModelConfig& config() const = 0;
  virtual int64_t weight_bytes() const = 0;  // bytes of weights held in memory or mapped
  // Of these, what one decode step reads: of an embedding table that is not also the head, one row.
  virtual int64_t weight_bytes_per_token() const { return weight_bytes(); }
  virtual int64_t kv_bytes_per_token() const = 0;
  virtual std::unique_ptr<Session> start(const SessionOptions& options) const = 0;
  // Throws Error where the engine runs one sequence at a time.
  virtual std::unique_ptr<Batch> start_batch(const BatchOptions& options) const;
};

// What every engine refuses, in the same words: a token id outside the vocabulary, more tokens than the cache
// has room for, a truncation outside [0, length]. Throw Error.
void check_tokens(std::span<const TokenId> tokens, const ModelConfig& config);
void check_room(int64_t length, int64_t more, int64_t max_tokens);
void check_truncation(int64_t tokens, int64_t length);

}  // namespace edgeq
