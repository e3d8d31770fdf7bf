// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint_blocks.h"

#include "core/error.h"

namespace edgeq {
namespace {

class CheckpointBlocks final : public BlockwiseModel {
 public:
  explicit CheckpointBlocks(std::shared_ptr<const Checkpoint> checkpoint)
      : checkpoint_(std::move(checkpoint)) {}

  const ModelConfig& config() const override { return checkpoint_->config(); }
  Ends ends() const override { return load_ends(*checkpoint_); }
  Block load(int block) const override { return load_block(*checkpoint_, block); }

  State begin(std::span<const TokenId>, const Ends&) const override { refuse(); }
  void enter(const Block&, State&) const override { refuse(); }
  void step(const Block&, int, State&) const override { refuse(); }
  void finish(const Ends&, State&) const override { refuse(); }

 private:
  [[noreturn]] static void refuse() { throw Bug("a checkpoint without an engine is not walked"); }

  std::shared_ptr<const Checkpoint> checkpoint_;
};

}  // namespace

std::unique_ptr<BlockwiseModel> open_checkpoint_blocks(std::shared_ptr<const Checkpoint> checkpoint) {
  return std::make_unique<CheckpointBlocks>(std::move(checkpoint));
}

}  // namespace edgeq
