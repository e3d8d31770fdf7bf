// SPDX-License-Identifier: Apache-2.0
#include "models/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "core/error.h"
#include "models/family.h"
#include "models/rotary_rows.h"

namespace edgeq {
namespace {

constexpr std::string_view kOurLayers = "layers.", kGgufLayers = "blk.";

struct LayerName {
  int64_t layer;
  std::string_view part;
};

// "layers.12.part" -> {12, "part"}; only the spelling that we write ourselves is taken (no "012").
std::optional<LayerName> split_layer(std::string_view name) {
  if (!name.starts_with(kOurLayers)) return std::nullopt;
  name.remove_prefix(kOurLayers.size());
  int64_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  const auto digits = size_t(end - name.data());
  if (error != std::errc() || layer < 0 || digits == name.size() || *end != '.') return std::nullopt;
  if (digits > 1 && name[0] == '0') return std::nullopt;
  return LayerName{layer, name.substr(digits + 1)};
}

// The family's own row, or the common one; nullptr for a name that is neither's.
const NameRow* find_row(const Family& family, std::span<const NameRow> common, std::string_view ours) {
  for (const std::span<const NameRow> rows : {family.names, common})
    if (const auto found = std::ranges::find(rows, ours, &NameRow::ours); found != rows.end()) return &*found;
  return nullptr;
}

struct Found {
  const NameRow& row;
  std::optional<LayerName> at;
  std::string name;
};

Found find_name(std::string_view site, Naming naming, const Family& family) {
  std::string_view base = site;
  const bool bias = base.ends_with(".bias");
  if (bias) base.remove_suffix(5);
  const std::string_view suffix = bias ? "bias" : "weight";
  const auto at = split_layer(base);
  const NameRow* row =
      at ? find_row(family, common_parts(), at->part) : find_row(family, common_ends(), base);
  if (row == nullptr) throw Error(fmt::format("\"{}\" is not the name of a tensor of a decoder model", site));
  const std::string_view stored = naming == Naming::hf ? row->hf : row->gguf;
  const std::string_view root = naming == Naming::hf && base != "head" ? family.hf_root : "";
  std::string name =
      at ? fmt::format("{}{}{}.{}.{}", root, naming == Naming::hf ? family.hf_layers : kGgufLayers, at->layer,
                       stored, suffix)
         : fmt::format("{}{}.{}", root, stored, suffix);
  return {*row, at, std::move(name)};
}

// Which of the matrices of its stored one this is: q, k, v or gate, up.
int64_t place_in_fusion(std::string_view part) {
  return part == "attn.k_proj" || part == "mlp.up_proj" ? 1 : part == "attn.v_proj" ? 2 : 0;
}

void place_in_fused(Placement& place, const LayerShape& shape, std::string_view part, Fusion fusion) {
  const int64_t index = place_in_fusion(part);
  if (part.starts_with("mlp.")) {
    place.first_row = index * shape.ffn;
    place.total_rows = 2 * shape.ffn;
    return;
  }
  const int64_t q = shape.heads * shape.head_dim, kv = shape.kv_heads * shape.head_dim;
  place.total_rows = q + 2 * kv;
  if (fusion == Fusion::stacked) {
    place.first_row = index == 0 ? 0 : q + (index - 1) * kv;
    return;
  }
  if (shape.kv_heads != shape.heads)
    throw Error(fmt::format("{} kv_heads for {} heads, in a family that stores q, k and v by head",
                            shape.kv_heads, shape.heads));
  place.first_row = index * shape.head_dim;
  place.head_dim = shape.head_dim;
  place.head_stride = 3 * shape.head_dim;
}

}  // namespace

int64_t Placement::stored_row(int64_t row) const {
  if (!reordered()) return first_row + row;
  const int64_t in_head = row % head_dim;
  return first_row + row / head_dim * head_stride +
         (interleaved ? interleaved_row(in_head, head_dim) : in_head);
}

Shape Placement::stored_shape(const Shape& ours) const {
  Shape shape = ours;
  shape[0] = total_rows;
  if (transposed) std::ranges::reverse(shape);
  return shape;
}

Placement placement(const ModelConfig& config, std::string_view site, int64_t rows, Naming naming) {
  const Family& family = family_of(config);
  const auto [row, at, name] = find_name(site, naming, family);
  Placement place{.name = name, .total_rows = rows};
  const bool hf = naming == Naming::hf;
  if (hf && row.ours.ends_with("norm") && !site.ends_with(".bias")) place.offset = family.hf_gain_offset;
  if (!at) return place;
  const LayerShape& shape = config.layers.at(size_t(at->layer));
  if (const Fusion fusion = hf ? row.hf_fusion : row.gguf_fusion; fusion != Fusion::none)
    place_in_fused(place, shape, at->part, fusion);
  place.transposed = hf && family.hf_transposed && row.ours.ends_with("_proj") && !site.ends_with(".bias");
  if (!hf && family.gguf_interleaved && (row.ours == "attn.q_proj" || row.ours == "attn.k_proj")) {
    place.interleaved = true;
    place.head_dim = place.head_stride = shape.head_dim;
  }
  return place;
}

std::string checkpoint_name(std::string_view site, Naming naming, std::string_view family) {
  const Family* known = find_family(family);
  EDGEQ_CHECK(known != nullptr, "names are asked for of a known family");
  return find_name(site, naming, *known).name;
}

std::string layer_site(int64_t layer, std::string_view part) {
  return fmt::format("{}{}.{}", kOurLayers, layer, part);
}

std::string_view part_in_layer(std::string_view name) {
  EDGEQ_CHECK(name.starts_with(kOurLayers), "the name is one of a layer");
  return name.substr(name.find('.', kOurLayers.size()) + 1);
}

}  // namespace edgeq
