// SPDX-License-Identifier: Apache-2.0
#include "cli/open_model.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"

namespace edgeq {

bool is_packed_file(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && !path.ends_with(".gguf");
}

OpenModel open_runtime_model(const std::string& path, const RuntimeOptions& options) {
  if (is_packed_file(path)) {
    const PackedModel packed = PackedModel::open(path, {.verify_checksums = false});  // the runtime verifies
    return {.path = path,
            .checkpoint = nullptr,
            .model = open_packed_runtime(path, options),
            .tokenizer = Tokenizer::deserialize(packed.tokenizer()),
            .hash = {},
            .file_bytes = packed.file_bytes(),
            .bits_per_weight = packed.bits_per_weight()};
  }
  std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(path);
  auto model = open_float_runtime(*checkpoint, options);
  return {.path = path,
          .checkpoint = checkpoint,
          .model = std::move(model),
          .tokenizer = checkpoint->tokenizer(),
          .hash = {},
          .file_bytes = checkpoint->file_bytes(),
          .bits_per_weight = stored_bits_per_weight(*checkpoint)};
}

Tokenizer open_tokenizer(const std::string& path) {
  if (is_packed_file(path))
    return Tokenizer::deserialize(PackedModel::open(path, {.verify_checksums = false}).tokenizer());
  return open_checkpoint(path)->tokenizer();
}

double stored_bits_per_weight(const Checkpoint& checkpoint) {
  return 8.0 * double(checkpoint.file_bytes()) / double(checkpoint.config().weight_count());
}

}  // namespace edgeq
