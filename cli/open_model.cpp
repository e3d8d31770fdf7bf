// SPDX-License-Identifier: Apache-2.0
#include "cli/open_model.h"

#include <fmt/format.h>

#include "core/error.h"

namespace edgeq {

OpenModel open_runtime_model(const std::string& path, const RuntimeOptions& options) {
  if (is_packed_file(path)) {
    const auto packed = std::make_shared<const PackedModel>(
        PackedModel::open(path, {.verify_checksums = options.verify_checksums}));
    return {.path = path,
            .model = open_packed_runtime(packed, options),
            .tokenizer = Tokenizer::deserialize(packed->tokenizer()),
            .file_bytes = packed->file_bytes(),
            .bits_per_weight = packed->bits_per_weight(),
            .kv = options.kv.value_or(packed->kv()),
            .reach = options.reach,
            .calibration_hashes = calibration_hashes(packed->provenance_json())};
  }
  const auto checkpoint = open_checkpoint(path);
  OpenModel open = describe(path, *checkpoint, open_float_runtime(*checkpoint, options));
  open.kv = options.kv.value_or(KvScheme{});
  open.reach = options.reach;
  return open;
}

OpenModel describe(const std::string& path, const Checkpoint& checkpoint,
                   std::unique_ptr<LanguageModel> model) {
  return {.path = path,
          .model = std::move(model),
          .tokenizer = checkpoint.tokenizer(),
          .file_bytes = checkpoint.file_bytes(),
          .bits_per_weight = stored_bits_per_weight(checkpoint),
          .kv = {}};
}

OpenModel open_unwritten(const Checkpoint& checkpoint, int64_t bytes, const RuntimeOptions& options) {
  OpenModel open = describe("", checkpoint, open_float_runtime(checkpoint, options));
  open.file_bytes = bytes;
  open.bits_per_weight = 8.0 * double(bytes) / double(checkpoint.config().weight_count());
  return open;
}

void check_same_tokens(const OpenModel& other, const OpenModel& open, const std::string& text,
                       const Corpus& corpus) {
  if (other.tokenizer.hash() == open.tokenizer.hash() ||
      read_corpus(text, other.tokenizer).tokens == corpus.tokens)
    return;
  throw Error(
      fmt::format("{} and {} turn {} into different tokens; expected the same", open.path, other.path, text));
}

ModelFacts facts_of(const OpenModel& open) {
  return {.model = open.path,
          .file_bytes = open.file_bytes,
          .weight_bytes = open.model->weight_bytes(),
          .kv = kv_scheme_text(open.kv),
          .reach = reach_text(open.reach),
          .kv_bytes_per_token = open.model->kv_bytes_per_token(),
          .bits_per_weight = open.bits_per_weight};
}

double stored_bits_per_weight(const Checkpoint& checkpoint) {
  return 8.0 * double(checkpoint.file_bytes()) / double(checkpoint.config().weight_count());
}

}  // namespace edgeq
