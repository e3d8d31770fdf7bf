// SPDX-License-Identifier: Apache-2.0
#include "cli/engines.h"

#include "core/error.h"
#include "models/packed_checkpoint.h"

#ifdef EDGEQ_HAS_TORCH
#include "cli/torch_engine.h"
#endif

namespace edgeq {
namespace {

#ifdef EDGEQ_HAS_TORCH
constexpr bool kHasTorch = true;

std::unique_ptr<LanguageModel> open_torch(const Checkpoint& checkpoint) {
  return torch_module().open_model(checkpoint);
}
#else
constexpr bool kHasTorch = false;

[[noreturn]] void refuse_torch() {
  throw Error("the float engine is not in this build")
      .set_hint("build edgeq with LibTorch (EDGEQ_TORCH=ON), or choose --engine runtime");
}

std::unique_ptr<LanguageModel> open_torch(const Checkpoint&) { refuse_torch(); }
#endif

}  // namespace

Engine parse_engine(const std::string& name) {
  if (name == "torch") return Engine::torch;
  return name == "runtime" ? Engine::runtime : Engine::automatic;
}

OpenModel open_model(const std::string& path, Engine engine, const RuntimeOptions& options) {
  const bool torch =
      engine == Engine::torch || (engine == Engine::automatic && kHasTorch && !is_packed_file(path));
  if (!torch) return open_runtime_model(path, options);
  if (is_packed_file(path)) {  // the same codes, dequantized
    PackedModel packed = PackedModel::open(path);
    const double bits = packed.bits_per_weight();
    const auto codes = open_packed_checkpoint(std::move(packed));
    return {.path = path,
            .checkpoint = nullptr,
            .model = open_torch(*codes),
            .tokenizer = codes->tokenizer(),
            .hash = {},
            .file_bytes = codes->file_bytes(),
            .bits_per_weight = bits};
  }
  std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(path);
  return {.path = path,
          .checkpoint = checkpoint,
          .model = open_torch(*checkpoint),
          .tokenizer = checkpoint->tokenizer(),
          .hash = {},
          .file_bytes = checkpoint->file_bytes(),
          .bits_per_weight = stored_bits_per_weight(*checkpoint)};
}

std::unique_ptr<BlockwiseModel> open_blockwise(
    [[maybe_unused]] std::shared_ptr<const Checkpoint> checkpoint) {
#ifdef EDGEQ_HAS_TORCH
  return torch_module().open_blockwise(std::move(checkpoint));
#else
  refuse_torch();
#endif
}

}  // namespace edgeq
