// SPDX-License-Identifier: Apache-2.0
// What was cut out of a model, and why: the scores of all units, those that stayed marked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edgeq {

struct ScoredUnit {
  double score = 0;
  bool stays = true;
};

struct ZerosOfSite {
  std::string name;  // "layers.3.attn.q_proj"
  double share = 0;
};

struct PruneReport {
  std::string score, block_score;  // names; "" where nothing of the kind was cut
  bool compensated = false;
  bool per_layer = false;  // layers keep different numbers of heads; those below are of all together
  int64_t weights_before = 0, weights_after = 0;
  int64_t heads_before = 0, heads_after = 0;  // of each layer
  int64_t kv_heads_before = 0, kv_heads_after = 0, channels_before = 0, channels_after = 0;
  int64_t tokens_before = 0, tokens_after = 0;  // of the vocabulary
  int64_t blocks_before = 0, blocks_after = 0;
  std::vector<int> layers;                     // of the model, that stayed
  std::vector<std::vector<ScoredUnit>> heads;  // of those layers; empty when no heads were cut
  std::vector<ScoredUnit> blocks;              // of all; empty when none was cut
  std::string mask;                            // "2:4 by sparsegpt"; "" without one
  std::vector<ZerosOfSite> zeros;              // of all matrices of the layers that stayed
  std::string equal_bytes;                     // the honest line: what quantizing to the same bytes costs
};

// "weights 125.5 M of 134.5 M (-6.6 %), heads 6 of 9".
std::string prune_summary(const PruneReport& report);
// "zeros, 2:4 by sparsegpt: q_proj 50.0 %, k_proj 50.0 %, ...; least 50.0 % in layers.0.attn.q_proj"; "" when
// nothing was masked.
std::string zeros_summary(const PruneReport& report);
// Score of each head: heads down, layers across, darker is worth more within its layer; those that went are
// crossed out. Scores of blocks as one row. SVG; "" when there is nothing to show.
std::string score_map(const PruneReport& report);

}  // namespace edgeq
