// SPDX-License-Identifier: Apache-2.0
#include "pruning/structure.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "models/names.h"

namespace edgeq {
namespace {

void check_share(const char* what, double share) {
  if (!(share >= 0 && share < 1))
    throw Error(fmt::format("{} is {}; expected a share of 0 to below 1, such as 0.33", what, share));
}

// So many of `count` units, at least one and not all of them.
int64_t units_to_cut(const char* units, int64_t count, double share) {
  const int64_t cut = std::llround(share * double(count));
  if (cut < 1)
    throw Error(fmt::format("{} of {} {} is less than half of one; expected at least {:.2f}", share, count,
                            units, 1 / double(count)));
  if (cut >= count)
    throw Error(fmt::format("{} of {} {} leaves none; expected at most {:.2f}", share, count, units,
                            double(count - 1) / double(count)));
  return cut;
}

struct HeadCounts {
  int64_t kv_heads = 0, group = 0;  // query heads of each KV head
  int64_t heads() const { return kv_heads * group; }
};

std::optional<HeadCounts> head_counts(const LayerShape& layer, int64_t heads, bool whole_groups) {
  const int64_t group = layer.heads / layer.kv_heads;
  if (whole_groups && heads % group == 0) return HeadCounts{heads / group, group};
  for (int64_t kv = layer.kv_heads; kv >= 1; --kv)
    if (heads % kv == 0 && heads / kv <= group) return HeadCounts{kv, heads / kv};
  return std::nullopt;
}

HeadCounts heads_after(const LayerShape& layer, const CutShares& shares) {
  const int64_t left = layer.heads - units_to_cut("heads", layer.heads, shares.heads);
  if (const auto counts = head_counts(layer, left, shares.whole_groups)) return *counts;
  std::vector<std::string> nearest;
  for (int64_t above = left + 1; above < layer.heads; ++above)
    if (head_counts(layer, above, false)) {
      nearest.push_back(
          fmt::format("{:.2f} (leaves {})", double(layer.heads - above) / double(layer.heads), above));
      break;
    }
  for (int64_t below = left - 1; below >= 1; --below)
    if (head_counts(layer, below, false)) {
      nearest.push_back(
          fmt::format("{:.2f} (leaves {})", double(layer.heads - below) / double(layer.heads), below));
      break;
    }
  throw Error(
      fmt::format("{} of {} query heads on {} KV heads leaves {}, which no config says; the nearest are {}",
                  shares.heads, layer.heads, layer.kv_heads, left, fmt::join(nearest, " and ")));
}

int64_t channel_multiple(const LayerShape& layer, const CutShares& shares) {
  if (shares.channel_multiple != 0) return shares.channel_multiple;
  return layer.ffn % 64 == 0 ? 64 : layer.ffn % 32 == 0 ? 32 : 1;
}

int64_t channels_after(const LayerShape& layer, const CutShares& shares) {
  const int64_t multiple = channel_multiple(layer, shares);
  const int64_t wanted = layer.ffn - units_to_cut("channels", layer.ffn, shares.ffn);
  const int64_t left = std::max<int64_t>(multiple, multiple * ((wanted + multiple / 2) / multiple));
  if (left >= layer.ffn)
    throw Error(fmt::format("{} of {} channels, in multiples of {}, is none; expected at least {:.2f}",
                            shares.ffn, layer.ffn, multiple, double(multiple) / double(layer.ffn)));
  return left;
}

Tensor take(const Tensor& vector, std::span<const int64_t> kept, int64_t width) {
  if (vector.empty()) return {};
  Tensor out = take_columns(MatrixView<const float>(vector.f32(), 1, vector.size()), kept, width);
  Tensor flat(DType::f32, {out.size()});
  std::copy_n(out.f32(), out.size(), flat.f32());
  return flat;
}

void keep_rows(Site* site, std::span<const int64_t> kept, int64_t width) {
  if (site == nullptr) return;
  site->weight = take_rows(site->weight.matrix(), kept, width);
  site->bias = take(site->bias, kept, width);
}

std::vector<int64_t> first(int64_t count) {
  std::vector<int64_t> all(size_t(count), 0);
  std::iota(all.begin(), all.end(), int64_t(0));
  return all;
}

}  // namespace

void check_shares(const CutShares& shares, const ModelConfig& config) {
  check_share("heads", shares.heads);
  check_share("ffn", shares.ffn);
  check_share("blocks", shares.blocks);
  if (shares.channel_multiple < 0)
    throw Error(fmt::format("channels in multiples of {}; expected at least 1", shares.channel_multiple));
  if (shares.heads != 0 && config.joint_qk_norm)
    throw Error(fmt::format("family {} norms the queries of all heads together; a head cannot go alone",
                            config.family));
}

LayerShape shape_after(const LayerShape& layer, const CutShares& shares) {
  LayerShape after = layer;
  if (shares.heads != 0) {
    const HeadCounts counts = heads_after(layer, shares);
    after.heads = counts.heads();
    after.kv_heads = counts.kv_heads;
  }
  if (shares.ffn != 0) after.ffn = channels_after(layer, shares);
  return after;
}

int64_t blocks_after(int64_t blocks, double share) {
  return share == 0 ? blocks : blocks - units_to_cut("blocks", blocks, share);
}

std::vector<double> shares_to_cut(const LayerShape& layer, const CutShares& options, bool heads) {
  std::vector<double> shares = {0};
  if (heads) {
    for (int64_t left = layer.heads - 1; left >= 1; --left)
      if (head_counts(layer, left, options.whole_groups))
        shares.push_back(double(layer.heads - left) / double(layer.heads));
    return shares;
  }
  const int64_t multiple = channel_multiple(layer, options);
  for (int64_t left = (layer.ffn - 1) / multiple * multiple; left >= multiple; left -= multiple)
    shares.push_back(double(layer.ffn - left) / double(layer.ffn));
  return shares;
}

ModelConfig config_after(const ModelConfig& config, std::span<const int> blocks, const CutShares& shares) {
  ModelConfig after = config;
  after.layers.clear();
  for (const int b : blocks) after.layers.push_back(shape_after(config.layers[size_t(b)], shares));
  return after;
}

Kept whole(const LayerShape& layer) { return {first(layer.heads), first(layer.kv_heads), first(layer.ffn)}; }

void cut_heads(Block& block, const Kept& kept, int64_t head_dim) {
  keep_rows(find_site(block, "attn.q_proj"), kept.heads, head_dim);
  for (const char* part : {"attn.k_proj", "attn.v_proj"})
    keep_rows(find_site(block, part), kept.kv_heads, head_dim);
  Tensor& o = find_site(block, "attn.o_proj")->weight;
  o = take_columns(o.matrix(), kept.heads, head_dim);
}

void cut_channels(Block& block, const Kept& kept) {
  for (const char* part : {"mlp.gate_proj", "mlp.up_proj"})
    keep_rows(find_site(block, part), kept.channels, 1);
  Tensor& down = find_site(block, "mlp.down_proj")->weight;
  down = take_columns(down.matrix(), kept.channels, 1);
}

Site* find_site(Block& block, std::string_view part) {
  const auto found = std::ranges::find(block.sites, layer_site(block.index, part), &Site::name);
  return found == block.sites.end() ? nullptr : &*found;
}

const Site* find_site(const Block& block, std::string_view part) {
  const auto found = std::ranges::find(block.sites, layer_site(block.index, part), &Site::name);
  return found == block.sites.end() ? nullptr : &*found;
}

Tensor take_columns(MatrixView<const float> matrix, std::span<const int64_t> kept, int64_t width) {
  Tensor out(DType::f32, {matrix.rows, std::ssize(kept) * width});
  for (int64_t r = 0; r < matrix.rows; ++r)
    for (size_t k = 0; k < kept.size(); ++k)
      std::copy_n(matrix.row(r) + kept[k] * width, width, out.matrix().row(r) + int64_t(k) * width);
  return out;
}

Tensor take_rows(MatrixView<const float> matrix, std::span<const int64_t> kept, int64_t width) {
  Tensor out(DType::f32, {std::ssize(kept) * width, matrix.cols});
  for (size_t k = 0; k < kept.size(); ++k)
    for (int64_t r = 0; r < width; ++r)
      std::copy_n(matrix.row(kept[k] * width + r), matrix.cols, out.matrix().row(int64_t(k) * width + r));
  return out;
}

std::vector<int64_t> columns_of(std::span<const int64_t> units, int64_t width) {
  std::vector<int64_t> columns;
  for (const int64_t unit : units)
    for (int64_t c = 0; c < width; ++c) columns.push_back(unit * width + c);
  return columns;
}

}  // namespace edgeq
