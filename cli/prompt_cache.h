// SPDX-License-Identifier: Apache-2.0
// Keys and values of a prompt in a file, so that a later run with the same beginning need not compute them.
// It is a safetensors file: tensor "tokens" I32 [n], tensor "keys_values" U8 [bytes], and metadata that binds
// them to what made them:
//   edgeq_prompt_cache  version of this form, and of the cache's pages
//   model, tokenizer    hashes
//   kv, positions       how keys and values are kept and rotated
//   reach               how far back their tokens saw
//   checksum            XXH3-128 of both tensors and all of the above
#pragma once

#include <optional>
#include <string>

#include "cli/open_model.h"
#include "models/language_model.h"

namespace edgeq {

// What a cache must have been made by, to be of use for a session with room for max_tokens.
struct PromptCacheKey {
  std::string model, tokenizer, kv, positions, reach;
};
PromptCacheKey prompt_cache_key(const OpenModel& open, int64_t max_tokens);

// Nothing when there is no such file. Throws Error for one that is damaged, is something else, or was made by
// anything but `key`.
std::optional<SessionState> read_prompt_cache(const std::string& path, const PromptCacheKey& key);

// The file has its name only when it is whole; one that is there is replaced. Throws Error.
void write_prompt_cache(const std::string& path, const PromptCacheKey& key, const SessionState& state);

}  // namespace edgeq
