// SPDX-License-Identifier: Apache-2.0
#include "recipe/calibrate.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/version.h"

namespace edgeq {
namespace {

struct Source {
  CalibrationText text;
  Windows windows;
};

Source read_self(const CalibrationSpec& spec, int64_t count, const WriteWindows& self) {
  if (!self)
    throw Error("text of the model itself is asked for, which only `edgeq quantize` can have it write");
  Windows windows = self(count, spec.tokens);
  const std::string hash = content_hash(std::as_bytes(std::span(windows.tokens)));
  return {{std::string(kSelfCorpus), hash}, std::move(windows)};
}

Source read_source(const std::string& name, const CalibrationSpec& spec, int64_t count,
                   const Tokenizer& tokenizer, const WriteWindows& self) {
  if (name == kSelfCorpus) return read_self(spec, count, self);
  const Corpus corpus = name == kDefaultCorpus ? corpus_of_json_lines(name, default_corpus(), tokenizer)
                                               : read_corpus(name, tokenizer);
  return {{corpus.name, corpus.hash}, cut_input_windows(corpus, tokenizer, spec.tokens, count)};
}

}  // namespace

std::string Calibration::name() const {
  std::string names;
  for (const CalibrationText& text : texts) names += (names.empty() ? "" : " + ") + text.name;
  return names;
}

std::string Calibration::hash() const {
  if (texts.size() == 1) return texts.front().hash;
  Hasher hasher;
  for (const CalibrationText& text : texts) hasher.add(text.hash);
  return hasher.digest();
}

Calibration read_calibration(const CalibrationSpec& spec, const Tokenizer& tokenizer,
                             const WriteWindows& self, int64_t tuning_windows) {
  std::vector<std::string> names = spec.corpus;
  if (names.empty()) names.emplace_back(kDefaultCorpus);
  const int64_t texts = std::ssize(names);
  if (spec.windows < texts)
    throw Error(fmt::format("{} windows of {} calibration texts; expected at least one of each", spec.windows,
                            texts));
  const int64_t all = spec.windows + tuning_windows;
  std::vector<Source> sources;
  for (int64_t i = 0; i < texts; ++i) {
    const int64_t count = all / texts + (i < all % texts ? 1 : 0);
    sources.push_back(read_source(names[size_t(i)], spec, count, tokenizer, self));
  }
  Calibration calibration{.texts = {},
                          .windows = {.length = spec.tokens, .tokens = {}},
                          .tuning = {.length = spec.tokens, .tokens = {}}};
  for (const Source& source : sources) calibration.texts.push_back(source.text);
  for (int64_t w = 0; w < all; ++w) {
    const auto window = sources[size_t(w % texts)].windows[w / texts];
    std::vector<TokenId>& tokens = (w < spec.windows ? calibration.windows : calibration.tuning).tokens;
    tokens.insert(tokens.end(), window.begin(), window.end());
  }
  return calibration;
}

StatsKey stats_key(const Checkpoint& checkpoint, const Calibration& calibration) {
  return {.model_hash = checkpoint.hash(),
          .corpus_name = calibration.name(),
          .corpus_hash = calibration.hash(),
          .windows = calibration.windows.count(),
          .window_tokens = calibration.windows.length,
          .tool_version = std::string(version())};
}

}  // namespace edgeq
