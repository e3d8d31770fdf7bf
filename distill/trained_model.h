// SPDX-License-Identifier: Apache-2.0
// A trained model as writers and proofs see it: floats, or codes where it was trained through their rounding.
#pragma once

#include <memory>
#include <string>

#include "distill/float_model.h"
#include "distill/trainer.h"
#include "models/coded_model.h"

namespace edgeq {

class TrainedModel final : public CodedModel {
 public:
  // inputs: that the sites of `codes` were trained with. like: whose tokenizer it has. provenance: JSON.
  TrainedModel(FloatModel model, Codes codes, Activations inputs, std::shared_ptr<const Checkpoint> like,
               std::string provenance);

  const std::string& path() const override { return like_->path(); }
  const ModelConfig& config() const override { return model_.config; }
  Tokenizer tokenizer() const override { return like_->tokenizer(); }
  Activations activations() const override {
    return inputs_ == Activations::f32 ? CodedModel::activations() : inputs_;
  }
  std::string provenance_json() const override { return provenance_; }
  WeightForm form(std::string_view site) const override;
  CodedWeight weight(std::string_view site) const override;
  Tensor vector(std::string_view name) const override { return values(name); }

 private:
  const Tensor& values(std::string_view name) const;

  FloatModel model_;
  std::map<std::string, const Tensor*, std::less<>> tensors_;  // of model_, by name
  Codes codes_;
  Activations inputs_;
  std::shared_ptr<const Checkpoint> like_;
  std::string provenance_;
};

}  // namespace edgeq
