// SPDX-License-Identifier: Apache-2.0
#include "recipe/pruned_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "core/error.h"
#include "models/names.h"
#include "models/sites.h"
#include "pruning/structure.h"

namespace edgeq {
namespace {

constexpr std::string_view kLayers = "layers.";

void copy_zeros(const Block& from, Block& to) {
  for (size_t s = 0; s < to.sites.size(); ++s) {
    const Tensor& zeros = from.sites[s].weight;
    EDGEQ_CHECK(zeros.size() == to.sites[s].weight.size(), "models of the same shapes");
    for (int64_t i = 0; i < zeros.size(); ++i)
      if (zeros.f32()[i] == 0) to.sites[s].weight.f32()[i] = 0;
  }
}

}  // namespace

PrunedModel::PrunedModel(std::shared_ptr<const Checkpoint> checkpoint, Cuts cuts,
                         std::shared_ptr<const Checkpoint> masked)
    : checkpoint_(std::move(checkpoint)),
      cuts_(std::move(cuts)),
      masked_(std::move(masked)),
      ends_(coded_model(checkpoint_)) {}

PrunedModel::PrunedModel(std::shared_ptr<const Checkpoint> checkpoint, Cuts cuts, const Journal& journal,
                         std::string provenance)
    : PrunedModel(std::move(checkpoint), std::move(cuts)) {
  journal_ = &journal;
  provenance_ = std::move(provenance);
}

int PrunedModel::layer_of(std::string_view name) const {
  if (!name.starts_with(kLayers)) return -1;
  int layer = -1;
  std::from_chars(name.data() + kLayers.size(), name.data() + name.size(), layer);
  if (layer < 0 || layer >= std::ssize(cuts_.layers))
    throw Error(fmt::format("{}: there is no {}", path(), name));
  return layer;
}

const Block& PrunedModel::block(int layer) const {
  if (held_ == layer) return block_;
  const LayerCut& cut = cuts_.layers[size_t(layer)];
  held_ = -1;
  block_ = load_block(*checkpoint_, cut.block);
  if (journal_ != nullptr) {
    const PartResult part = journal_->load(layer_part(cut.block));
    for (Site& site : block_.sites) {
      site.weight = part.site(site.name).kept;
      site.bias = part.site(site.name).bias;
    }
  } else {
    const LayerShape& before = checkpoint_->config().layers[size_t(cut.block)];
    if (std::ssize(cut.kept.heads) != before.heads) cut_heads(block_, cut.kept, before.head_dim);
    if (std::ssize(cut.kept.channels) != before.ffn) cut_channels(block_, cut.kept);
    if (masked_) copy_zeros(load_block(*masked_, layer), block_);
  }
  held_ = layer;
  return block_;
}

WeightForm PrunedModel::form(std::string_view site) const {
  const int layer = layer_of(site);
  if (layer < 0) {
    WeightForm form = ends_->form(site);
    form.scheme.reset();
    return form;
  }
  const auto shapes = layer_sites(config(), layer);
  const auto found = std::ranges::find(shapes, site, &SiteShape::name);
  if (found == shapes.end()) throw Error(fmt::format("{}: there is no weight {}", path(), site));
  return {.scheme = {}, .dtype = DType::f32, .rows = found->rows, .cols = found->cols};
}

CodedWeight PrunedModel::weight(std::string_view site) const {
  const int layer = layer_of(site);
  if (layer < 0) {
    CodedWeight weight = ends_->weight(site);
    if (!weight.codes) return weight;
    const WeightForm form = this->form(site);
    return {.codes = {},
            .kept = cast_rows(form.rows, form.cols, form.dtype, [&](int64_t first, int64_t count) {
              return dequantize(weight, first, count);
            })};
  }
  const Site* found = find_site(block(layer), part_in_layer(site));
  if (found == nullptr) throw Error(fmt::format("{}: there is no weight {}", path(), site));
  return {.codes = {}, .kept = found->weight};
}

Tensor PrunedModel::vector(std::string_view name) const {
  const int layer = layer_of(name);
  if (layer < 0) return ends_->vector(name);
  const Block& from = block(layer);
  const std::string_view part = part_in_layer(name);
  if (part.ends_with(".bias"))
    if (const Site* site = find_site(from, part.substr(0, part.size() - 5))) return site->bias;
  const auto found = std::ranges::find(from.others, layer_site(from.index, part), &NamedTensor::name);
  if (found == from.others.end()) throw Error(fmt::format("{}: there is no vector {}", path(), name));
  return found->tensor;
}

}  // namespace edgeq
