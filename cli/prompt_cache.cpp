// SPDX-License-Identifier: Apache-2.0
#include "cli/prompt_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "core/hash.h"
#include "formats/safetensors.h"
#include "models/import.h"
#include "models/packed_model.h"
#include "runtime/kv_layout.h"

namespace edgeq {
namespace {

using Metadata = std::map<std::string, std::string>;
constexpr const char* kMark = "edgeq_prompt_cache";

std::string version() { return fmt::format("2, pages of {}", KvLayout::kPage); }

Metadata metadata_of(const PromptCacheKey& key) {
  return {{kMark, version()}, {"model", key.model},         {"tokenizer", key.tokenizer},
          {"kv", key.kv},     {"positions", key.positions}, {"reach", key.reach}};
}

std::string checksum(const Metadata& metadata, std::span<const std::byte> tokens,
                     std::span<const std::byte> keys_values) {
  Hasher hasher;
  hasher.add(tokens).add(keys_values);
  for (const auto& [name, value] : metadata) hasher.add(fmt::format("{} {}\n", name, value));
  return hasher.digest();
}

std::span<const std::byte> bytes_of(const SafetensorsFile& file, const char* name, Encoding encoding) {
  const EncodedTensor* tensor = file.find(name);
  if (tensor == nullptr || tensor->encoding != encoding)
    throw Error(fmt::format("no tensor {} of {}; expected a prompt cache", name, encoding_name(encoding)));
  return {tensor->data, size_t(tensor->bytes)};
}

void check_key(const Metadata& found, const Metadata& expected) {
  const auto mark = found.find(kMark);
  if (mark == found.end()) throw Error("no prompt cache; expected a file that --prompt-cache wrote");
  for (const auto& [name, value] : expected) {
    const auto entry = found.find(name);
    const std::string has = entry == found.end() ? "none" : entry->second;
    if (has != value)
      throw Error(
          fmt::format("a prompt cache of {} {}; expected {}", name == kMark ? "version" : name, has, value))
          .set_hint("remove the file, or name another, to have it made anew");
  }
}

SessionState read(const SafetensorsFile& file, const PromptCacheKey& key) {
  const auto tokens = bytes_of(file, "tokens", Encoding::i32);
  const auto keys_values = bytes_of(file, "keys_values", Encoding::u8);
  const Metadata expected = metadata_of(key);
  check_key(file.metadata(), expected);
  const auto sum = file.metadata().find("checksum");
  if (sum == file.metadata().end() || sum->second != checksum(expected, tokens, keys_values))
    throw Error("the checksum does not match: the prompt cache is damaged");
  SessionState state{.tokens = std::vector<TokenId>(tokens.size() / sizeof(TokenId)),
                     .keys_values = {keys_values.begin(), keys_values.end()}};
  std::memcpy(state.tokens.data(), tokens.data(), tokens.size());
  return state;
}

// Of all that decides a model's logits: of a packed file what its header says, hashes of the weights among
// it.
std::string model_hash(const std::string& path) {
  if (!is_packed_file(path)) return open_checkpoint(path)->hash();
  const SafetensorsFile file(path);
  Hasher hasher;
  for (const char* name : {"config", "weights", "hashes", "activations"})
    if (const auto found = file.metadata().find(name); found != file.metadata().end())
      hasher.add(fmt::format("{} {}\n", name, found->second));
  return hasher.digest();
}

}  // namespace

PromptCacheKey prompt_cache_key(const OpenModel& open, int64_t max_tokens) {
  const int64_t original = open.model->config().original_context;
  const int64_t seen = open.reach.limited() ? std::min(max_tokens, open.reach.tokens()) : max_tokens;
  return {.model = model_hash(open.path),
          .tokenizer = open.tokenizer.hash(),
          .kv = kv_scheme_text(open.kv),
          .positions = original != 0 && seen > original ? "long" : "as trained",
          .reach = reach_text(open.reach)};
}

std::optional<SessionState> read_prompt_cache(const std::string& path, const PromptCacheKey& key) {
  std::error_code failed;
  if (!std::filesystem::exists(path, failed)) return std::nullopt;
  const SafetensorsFile file(path);
  return with_context(path, [&] { return read(file, key); });
}

void write_prompt_cache(const std::string& path, const PromptCacheKey& key, const SessionState& state) {
  Metadata metadata = metadata_of(key);
  const auto tokens = std::as_bytes(std::span(state.tokens));
  metadata["checksum"] = checksum(metadata, tokens, state.keys_values);
  SafetensorsWriter out(path, OutputFile::Existing::replace);
  out.add("tokens", DType::i32, {std::ssize(state.tokens)}, tokens);
  out.add("keys_values", DType::u8, {std::ssize(state.keys_values)}, state.keys_values);
  out.finish(metadata);
}

}  // namespace edgeq
