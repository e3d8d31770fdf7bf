// SPDX-License-Identifier: Apache-2.0
#include "cli/self_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/hash.h"
#include "formats/mapped_file.h"
#include "formats/output_file.h"
#include "runtime/runtime.h"
#include "runtime/sampler.h"

namespace edgeq {
namespace {

TokenId first_token(const Tokenizer& tokenizer, int64_t vocab, int64_t window) {
  if (window % 2 == 1) return TokenId(Random(uint64_t(window)).below(uint64_t(vocab)));
  return opening_token(tokenizer).value_or(0);
}

// Windows that are written at once: each weight is read once for all of them.
constexpr int64_t kTogether = 8;

// Whole windows: where the model ends a text it begins another in the same window, as in training.
std::vector<TokenId> write_windows(const LanguageModel& model, const Tokenizer& tokenizer, int64_t count,
                                   int64_t length, const Progress& progress) {
  std::vector<TokenId> tokens(size_t(count * length));
  const auto batch = model.start_batch({.sequences = std::min(count, kTogether), .sequence_tokens = length});
  int64_t done = 0;
  for (int64_t w = 0; w < count; ++w) {
    const auto window = std::span(tokens).subspan(size_t(w * length), size_t(length));
    window[0] = first_token(tokenizer, model.config().vocab, w);
    Sampler sampler({.temperature = kSelfTemperature, .top_p = kSelfTopP, .seed = uint64_t(w)});
    batch->submit({.prompt = {window[0]},
                   .tokens = length - 1,
                   .next = [&, window, sampler, at = size_t{1}](std::span<const float> logits) mutable {
                     window[at++] = sampler.next(logits);
                     if (at == window.size()) report_progress(progress, "write own text", ++done, count);
                     return std::optional(window[at - 1]);
                   }});
  }
  while (batch->step()) {
  }
  return tokens;
}

// The tokens of an earlier run, or none.
std::vector<TokenId> read_cached(const std::string& path, int64_t tokens) {
  std::error_code missing;
  if (!std::filesystem::exists(path, missing)) return {};
  const auto file = MappedFile::open(path);
  if (std::ssize(file->bytes()) != tokens * int64_t(sizeof(TokenId))) return {};
  std::vector<TokenId> cached(static_cast<size_t>(tokens));
  std::memcpy(cached.data(), file->bytes().data(), file->bytes().size());
  return cached;
}

}  // namespace

Windows self_windows(const Checkpoint& checkpoint, int64_t count, int64_t length, const std::string& folder,
                     int threads, const Progress& progress) {
  const ModelConfig& config = checkpoint.config();
  if (length < 2 || length > config.context)
    throw Error(fmt::format("windows of {} tokens of the model's own text; expected 2 to its context of {}",
                            length, config.context));
  const std::string key = content_hash(
      fmt::format("{} {} {} {} {}", checkpoint.hash(), count, length, kSelfTemperature, kSelfTopP));
  const std::string path = fmt::format("{}/self-{}.tokens", folder, key.substr(0, 12));
  Windows windows{.length = length, .tokens = read_cached(path, count * length)};
  if (windows.count() == count) return windows;
  const auto model = open_float_runtime(checkpoint, {.threads = threads});
  const Tokenizer tokenizer = checkpoint.tokenizer();
  windows.tokens = write_windows(*model, tokenizer, count, length, progress);
  std::filesystem::create_directories(folder);
  const auto bytes = std::as_bytes(std::span(windows.tokens));
  write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()},
             OutputFile::Existing::replace);
  return windows;
}

}  // namespace edgeq
