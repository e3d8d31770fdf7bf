// SPDX-License-Identifier: Apache-2.0
#include "distill/trained_model.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"

namespace edgeq {

TrainedModel::TrainedModel(FloatModel model, Codes codes, Activations inputs,
                           std::shared_ptr<const Checkpoint> like, std::string provenance)
    : model_(std::move(model)),
      codes_(std::move(codes)),
      inputs_(inputs),
      like_(std::move(like)),
      provenance_(std::move(provenance)) {
  for (const Parameter& parameter : parameters_of(model_)) tensors_.emplace(parameter.name, parameter.values);
}

const Tensor& TrainedModel::values(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw Error(fmt::format("the trained model has no {}", name));
  return *found->second;
}

WeightForm TrainedModel::form(std::string_view site) const {
  const Tensor& weight = values(site);
  WeightForm form{.scheme = {}, .dtype = DType::f32, .rows = weight.rows(), .cols = weight.cols()};
  if (const auto codes = codes_.find(site); codes != codes_.end()) form.scheme = codes->second.scheme;
  return form;
}

CodedWeight TrainedModel::weight(std::string_view site) const {
  if (const auto codes = codes_.find(site); codes != codes_.end())
    return {.codes = codes->second, .kept = {}};
  return {.codes = {}, .kept = values(site)};
}

}  // namespace edgeq
