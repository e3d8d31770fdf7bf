// SPDX-License-Identifier: Apache-2.0
#include "cli/run_check.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "models/corpus.h"
#include "runtime/runtime.h"

namespace edgeq {
namespace {

constexpr std::string_view kPassage =
    "The lighthouse stood at the end of a narrow spit of land, and in winter the waves broke over the path "
    "that "
    "led to it. Every evening the keeper climbed the hundred and twelve steps, filled the lamp with oil, "
    "trimmed "
    "the wick and wound the clockwork that turned the lens. From the gallery he could see the harbour, the "
    "church "
    "with its square tower and, on clear days, the blue line of the hills. He wrote down the wind, the "
    "height of "
    "the sea and the name of every ship that passed. When the machine came that could do all of this by "
    "itself, he "
    "asked only that somebody should still come once a year to look at the stars from up there.";
constexpr int64_t kPassageTokens = 96;
constexpr int64_t kLargestBytes = int64_t(2) << 30;

}  // namespace

TextQuality compare_on_passage(const Checkpoint& file, const Checkpoint& reference, int threads) {
  Windows windows{.length = kPassageTokens, .tokens = reference.tokenizer().encode(kPassage)};
  if (std::ssize(windows.tokens) < kPassageTokens)
    throw Error(fmt::format("the built-in passage has {} tokens; expected at least {}", windows.tokens.size(),
                            kPassageTokens));
  windows.tokens.resize(size_t(kPassageTokens));
  const RuntimeOptions options{.threads = threads};
  const auto model = open_float_runtime(file, options), other = open_float_runtime(reference, options);
  return measure_text_quality(*model, other.get(), windows, {});
}

std::optional<std::string> run_check_obstacle(const ModelConfig& config) {
  const int64_t bytes = 2 * 4 * config.weight_count();
  if (bytes <= kLargestBytes) return std::nullopt;
  return fmt::format("two float copies of the model take {}, and a check may take {}", bytes_text(bytes),
                     bytes_text(kLargestBytes));
}

}  // namespace edgeq
