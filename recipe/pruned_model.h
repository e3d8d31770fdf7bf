// SPDX-License-Identifier: Apache-2.0
// A pruned model as writers, engines and proofs see it: the blocks of a journal, compensated or not, or plain
// cuts of a checkpoint; the ends are the checkpoint's. Floats throughout.
#pragma once

#include <memory>
#include <string>

#include "models/coded_model.h"
#include "models/import.h"
#include "recipe/journal.h"
#include "recipe/prune.h"

namespace edgeq {

class PrunedModel final : public CodedModel {
 public:
  // The blocks that prune() left in the journal, which outlives it. provenance: JSON.
  PrunedModel(std::shared_ptr<const Checkpoint> checkpoint, Cuts cuts, const Journal& journal,
              std::string provenance);
  // Cuts alone: what is left is as it was, but for zeros where `masked`, a model of the same shapes, has
  // them.
  PrunedModel(std::shared_ptr<const Checkpoint> checkpoint, Cuts cuts,
              std::shared_ptr<const Checkpoint> masked = nullptr);

  const std::string& path() const override { return checkpoint_->path(); }
  const ModelConfig& config() const override { return cuts_.config; }
  Tokenizer tokenizer() const override { return checkpoint_->tokenizer(); }
  std::string provenance_json() const override { return provenance_; }
  WeightForm form(std::string_view site) const override;
  CodedWeight weight(std::string_view site) const override;
  Tensor vector(std::string_view name) const override;
  const Cuts& cuts() const { return cuts_; }

 private:
  // "layers.3.x" of what stays -> the cut layer it is; -1 for what is not in a layer.
  int layer_of(std::string_view name) const;
  const Block& block(int layer) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  Cuts cuts_;
  std::shared_ptr<const Checkpoint> masked_;
  const Journal* journal_ = nullptr;
  std::string provenance_ = "{}";
  std::unique_ptr<CodedModel> ends_;
  mutable int held_ = -1;  // the layer that block_ is
  mutable Block block_;
};

}  // namespace edgeq
