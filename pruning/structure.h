// SPDX-License-Identifier: Apache-2.0
// What structured pruning cuts, and what of it an ordinary config can say. Units are query heads, channels of
// the feed-forward and whole blocks. All layers keep as many, so that one num_attention_heads, one
// num_key_value_heads and one intermediate_size describe the model. With grouped queries, query head h reads
// the keys and values of KV head h / (heads / kv_heads): every KV head that stays keeps as many query heads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/block.h"
#include "models/config.h"

namespace edgeq {

// What is to go, as shares of what there is: 0 (nothing) to below 1.
struct CutShares {
  double heads = 0, ffn = 0, blocks = 0;
  bool whole_groups = false;     // query heads go with their KV heads where that is possible
  int64_t channel_multiple = 0;  // of the channels that stay; 0: 64 or 32 where it divides what there is
  bool any() const { return heads != 0 || ffn != 0 || blocks != 0; }
};

// What stays of one block: indices, ascending.
struct Kept {
  std::vector<int64_t> heads, kv_heads, channels;
};

// Throws Error for a share that is not a number from 0 to below 1, and for a family whose attention does not
// come apart by heads.
void check_shares(const CutShares& shares, const ModelConfig& config);

// What a layer keeps: the nearest number of whole units that a config can say. Throws Error when a share is
// less than one unit or leaves none, or no config says that number of heads; it names the nearest that can
// be.
LayerShape shape_after(const LayerShape& layer, const CutShares& shares);
// How many of `blocks` blocks stay. Throws Error as above.
int64_t blocks_after(int64_t blocks, double share);

// All shares of a layer's query heads, or of its channels, of which shape_after() leaves different shapes:
// ascending, from 0. options: whole_groups and channel_multiple.
std::vector<double> shares_to_cut(const LayerShape& layer, const CutShares& options, bool heads);

// The config of what stays: `blocks` of the model's, ascending.
ModelConfig config_after(const ModelConfig& config, std::span<const int> blocks, const CutShares& shares);

// Everything of a layer.
Kept whole(const LayerShape& layer);

// Take the rows and columns of what goes out of a block; cut_heads() reads heads and kv_heads, whose size is
// head_dim.
void cut_heads(Block& block, const Kept& kept, int64_t head_dim);
void cut_channels(Block& block, const Kept& kept);

// The site of a block whose name ends in `part` ("attn.o_proj"); nullptr when it has none.
Site* find_site(Block& block, std::string_view part);
const Site* find_site(const Block& block, std::string_view part);

// [rows, kept.size() * width]: columns of units, each `width` wide.
Tensor take_columns(MatrixView<const float> matrix, std::span<const int64_t> kept, int64_t width);
Tensor take_rows(MatrixView<const float> matrix, std::span<const int64_t> kept, int64_t width);
// Column indices of units: {1, 2} of width 2 -> {2, 3, 4, 5}.
std::vector<int64_t> columns_of(std::span<const int64_t> units, int64_t width);

}  // namespace edgeq
