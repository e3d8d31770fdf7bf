// SPDX-License-Identifier: Apache-2.0
#include "models/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "core/error.h"

namespace edgeq {
namespace {

struct NameRow {
  std::string_view ours, hf, gguf;
  std::string_view of(Naming naming) const { return naming == Naming::hf ? hf : gguf; }
};

constexpr std::array kEnds = {
    NameRow{"embedding", "model.embed_tokens", "token_embd"},
    NameRow{"final_norm", "model.norm", "output_norm"},
    NameRow{"head", "lm_head", "output"},
};
constexpr std::array kParts = {
    NameRow{"attn_norm", "input_layernorm", "attn_norm"},
    NameRow{"attn.q_proj", "self_attn.q_proj", "attn_q"},
    NameRow{"attn.k_proj", "self_attn.k_proj", "attn_k"},
    NameRow{"attn.v_proj", "self_attn.v_proj", "attn_v"},
    NameRow{"attn.o_proj", "self_attn.o_proj", "attn_output"},
    NameRow{"attn.q_norm", "self_attn.q_norm", "attn_q_norm"},
    NameRow{"attn.k_norm", "self_attn.k_norm", "attn_k_norm"},
    NameRow{"mlp_norm", "post_attention_layernorm", "ffn_norm"},
    NameRow{"mlp.gate_proj", "mlp.gate_proj", "ffn_gate"},
    NameRow{"mlp.up_proj", "mlp.up_proj", "ffn_up"},
    NameRow{"mlp.down_proj", "mlp.down_proj", "ffn_down"},
};

constexpr std::string_view kOurLayers = "layers.", kHfLayers = "model.layers.", kGgufLayers = "blk.";

struct LayerName {
  int64_t layer;
  std::string_view part;
};

// "<prefix>12.part" -> {12, "part"}; only the spelling that we write ourselves is taken (no "012").
std::optional<LayerName> split_layer(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  int64_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  const auto digits = size_t(end - name.data());
  if (error != std::errc() || layer < 0 || digits == name.size() || *end != '.') return std::nullopt;
  if (digits > 1 && name[0] == '0') return std::nullopt;
  return LayerName{layer, name.substr(digits + 1)};
}

bool remove_suffix(std::string_view& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return false;
  name.remove_suffix(suffix.size());
  return true;
}

std::string_view layers_prefix(Naming naming) { return naming == Naming::hf ? kHfLayers : kGgufLayers; }

}  // namespace

std::string checkpoint_name(std::string_view site, Naming naming) {
  std::string_view base = site;
  const std::string_view suffix = remove_suffix(base, ".bias") ? "bias" : "weight";
  for (const NameRow& row : kEnds)
    if (row.ours == base) return fmt::format("{}.{}", row.of(naming), suffix);
  if (const auto at = split_layer(base, kOurLayers))
    for (const NameRow& row : kParts)
      if (row.ours == at->part)
        return fmt::format("{}{}.{}.{}", layers_prefix(naming), at->layer, row.of(naming), suffix);
  throw Error(fmt::format("\"{}\" is not the name of a tensor of a decoder model", site));
}

std::optional<std::string> site_name(std::string_view checkpoint_name, Naming naming) {
  std::string_view base = checkpoint_name, suffix;
  if (remove_suffix(base, ".bias")) {
    suffix = ".bias";
  } else if (!remove_suffix(base, ".weight")) {
    return std::nullopt;
  }
  for (const NameRow& row : kEnds)
    if (row.of(naming) == base) return fmt::format("{}{}", row.ours, suffix);
  if (const auto at = split_layer(base, layers_prefix(naming)))
    for (const NameRow& row : kParts)
      if (row.of(naming) == at->part) return layer_site(at->layer, row.ours) + std::string(suffix);
  return std::nullopt;
}

std::string layer_site(int64_t layer, std::string_view part) {
  return fmt::format("{}{}.{}", kOurLayers, layer, part);
}

}  // namespace edgeq
