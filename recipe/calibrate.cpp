// SPDX-License-Identifier: Apache-2.0
#include "recipe/calibrate.h"

#include "core/version.h"

namespace edgeq {

Calibration read_calibration(const CalibrationSpec& spec, const Tokenizer& tokenizer) {
  Calibration calibration{.corpus = read_corpus(spec.corpus, tokenizer), .windows = {}};
  calibration.windows = cut_windows(calibration.corpus, spec.tokens, spec.windows);
  calibration.corpus.tokens = {};
  return calibration;
}

StatsKey stats_key(const Checkpoint& checkpoint, const Calibration& calibration) {
  return {.model_hash = checkpoint.hash(),
          .corpus_name = calibration.corpus.name,
          .corpus_hash = calibration.corpus.hash,
          .windows = calibration.windows.count(),
          .window_tokens = calibration.windows.length,
          .tool_version = std::string(version())};
}

}  // namespace edgeq
