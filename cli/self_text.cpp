// SPDX-License-Identifier: Apache-2.0
#include "cli/self_text.h"

#include <fmt/format.h>

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

// The whole window: where the model ends a text it begins another in the same window, as in training.
std::vector<TokenId> write_window(const LanguageModel& model, TokenId first, int64_t length, uint64_t seed) {
  Sampler sampler({.temperature = kSelfTemperature, .top_p = kSelfTopP, .seed = seed});
  const auto session = model.start({.max_tokens = length});
  std::vector<TokenId> tokens{first};
  while (std::ssize(tokens) < length) {
    const MatrixView<const float> logits = session->feed(std::span(tokens).last(1), Logits::last);
    tokens.push_back(sampler.next({logits.data, size_t(logits.cols)}));
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
  for (int64_t w = 0; w < count; ++w) {
    const auto window = write_window(*model, first_token(tokenizer, config.vocab, w), length, uint64_t(w));
    windows.tokens.insert(windows.tokens.end(), window.begin(), window.end());
    report_progress(progress, "write own text", w + 1, count);
  }
  std::filesystem::create_directories(folder);
  const auto bytes = std::as_bytes(std::span(windows.tokens));
  write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()},
             OutputFile::Existing::replace);
  return windows;
}

}  // namespace edgeq
