// SPDX-License-Identifier: Apache-2.0
// Sequences that are generated together: one forward pass a step for all of them, so that weights are read
// once for all, their keys and values in one pool of pages. Requests wait until there is room, begin with
// the pages of whoever begins alike, and get the tokens that they would get alone, bit for bit. When pages
// run out, the youngest gives its own back and is computed again later.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "models/token.h"

namespace edgeq {

struct BatchOptions {
  int64_t sequences = 8;    // that run at once, at most
  int64_t pool_tokens = 0;  // room in the pool of pages, over all; 0: as sequence_tokens says
  // Room for so many in each, so that none gives way; 0: the context. More than the context where the engine
  // goes on beyond it.
  int64_t sequence_tokens = 0;
  bool share_prefixes = true;
};

struct BatchRequest {
  std::vector<TokenId> prompt;
  int64_t tokens = 1;  // made at most
  // The next token from the logits after all so far, or nothing to end. Called once for each token, in order.
  // It may not call the batch.
  std::function<std::optional<TokenId>(std::span<const float> logits)> next = {};
};

struct BatchStats {
  int64_t steps = 0;
  int64_t rows = 0;           // tokens that went through the forward pass
  int64_t shared_tokens = 0;  // of prompts, that did not since another sequence had them
  int64_t preempted = 0;      // times that a sequence gave its pages back
  int64_t pool_pages = 0, free_pages = 0, page_tokens = 0, pool_bytes = 0;
  int64_t held_tokens = 0, held_pages = 0;  // now, by running sequences; a shared page counts once for each
};

// Not thread-safe.
class Batch {
 public:
  virtual ~Batch() = default;
  // Returns a name for it. Throws Error for a request that could never run: an empty prompt, a token outside
  // the vocabulary, more tokens than the context or the pool has room for.
  virtual int64_t submit(BatchRequest request) = 0;
  // Ends a request that waits or runs; one that has ended already is no error.
  virtual void cancel(int64_t id) = 0;
  // One forward pass. False when there was nothing to do. Throws what `next` throws; the request that threw
  // has ended then, and the others go on with the next step.
  virtual bool step() = 0;
  virtual int64_t running() const = 0;
  virtual int64_t waiting() const = 0;
  virtual BatchStats stats() const = 0;
};

}  // namespace edgeq
