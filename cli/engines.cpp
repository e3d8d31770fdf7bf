// SPDX-License-Identifier: Apache-2.0
#include "cli/engines.h"

#include <fmt/format.h>

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
  const bool floats = options.kv.value_or(KvScheme{}) == KvScheme{};
  if (engine == Engine::torch && !floats)
    throw Error(fmt::format("{}: the float engine keeps keys and values as f32, not as {}", path,
                            kv_scheme_text(*options.kv)))
        .set_hint("choose --engine runtime");
  if (engine == Engine::torch && options.reach.limited())
    throw Error(fmt::format("{}: the float engine sees all tokens, not {}", path, reach_text(options.reach)))
        .set_hint("choose --engine runtime");
  const bool torch =
      engine == Engine::torch || (engine == Engine::automatic && kHasTorch && !is_packed_file(path) &&
                                  !options.kv && !options.reach.limited());
  if (!torch) return open_runtime_model(path, options);
  if (!is_packed_file(path)) {
    const auto checkpoint = open_checkpoint(path);
    return describe(path, *checkpoint, open_torch(*checkpoint));
  }
  PackedModel packed = PackedModel::open(path);
  const double bits = packed.bits_per_weight();
  const auto codes = open_packed_checkpoint(std::move(packed));  // the same codes, dequantized
  OpenModel open = describe(path, *codes, open_torch(*codes));
  open.bits_per_weight = bits;  // of its weights, as the runtime says it
  return open;
}

std::unique_ptr<BlockwiseModel> open_blockwise(
    [[maybe_unused]] const std::shared_ptr<const Checkpoint>& checkpoint) {
#ifdef EDGEQ_HAS_TORCH
  return torch_module().open_blockwise(checkpoint);
#else
  refuse_torch();
#endif
}

void teach_on_torch([[maybe_unused]] const TeachInputs& in, [[maybe_unused]] const Progress& progress) {
#ifdef EDGEQ_HAS_TORCH
  torch_module().teach(in, progress);
#else
  refuse_torch();
#endif
}

TrainReport train_on_torch([[maybe_unused]] const TrainInputs& in,
                           [[maybe_unused]] const Progress& progress) {
#ifdef EDGEQ_HAS_TORCH
  return torch_module().train(in, progress);
#else
  refuse_torch();
#endif
}

std::unique_ptr<BackwardModel> open_backward([[maybe_unused]] const ModelConfig& config) {
#ifdef EDGEQ_HAS_TORCH
  return torch_module().open_backward(config);
#else
  refuse_torch();
#endif
}

}  // namespace edgeq
