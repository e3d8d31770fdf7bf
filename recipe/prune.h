// SPDX-License-Identifier: Apache-2.0
// The pruning loop. Which blocks stay is decided first, from the float model; then the windows walk through
// both models side by side, and in each block that stays the heads go, what reads them makes up for them, the
// channels go, what reads them makes up for them, each on what the cut model gives by then; of what is left
// of a stage's matrices a mask then makes zeros. A finished block is committed to the journal: a killed run
// goes on, and ends in the same bytes.
#pragma once

#include <string>
#include <vector>

#include "core/progress.h"
#include "models/blockwise_model.h"
#include "models/corpus.h"
#include "models/gradients.h"
#include "recipe/journal.h"
#include "recipe/prune_spec.h"

namespace edgeq {

struct SiteZeros {
  std::string part;  // "attn.q_proj"
  double share = 0;  // of zeros in its weight
};

// What became of one block that stays.
struct LayerCut {
  int block = 0;  // index in the model
  Kept kept;
  std::vector<double> head_scores, channel_scores;  // empty where nothing of the kind goes
  std::vector<SiteZeros> zeros;                     // empty without a mask
};

struct Cuts {
  std::vector<double> block_scores;  // of all blocks; empty when none goes
  std::vector<LayerCut> layers;
  ModelConfig config;  // of what stays
};

struct PruneInputs {
  const PruneSpec& spec;
  const BlockwiseModel& model;
  const BackwardModel* backward = nullptr;  // where prune_needs_gradients()
  const Windows& windows;                   // of calibration; may be empty where prune_needs_text() is false
};

// Throw Error for a spec that cannot be (pruning/structure.h, pruning/mask.h) or asks for nothing, an unknown
// score or mask, or gradients of different losses at once.
bool compensates(const PruneSpec& spec);  // not where the vocabulary alone is cut: the layers lose nothing
bool prune_needs_text(const PruneSpec& spec);
bool prune_needs_gradients(const PruneSpec& spec);
// Throws Error for a spec whose result cannot be trained afterwards.
void check_healable(const PruneSpec& spec);

// What is known before any work: the config of what will stay, its blocks being the first ones, with all
// heads where layers are to keep different numbers. Throws Error as above.
Cuts plan_cuts(const PruneSpec& spec, const ModelConfig& config);

// All that the weights depend on besides model and text, for the journal's key.
std::string prune_key(const PruneSpec& spec);

Cuts prune(const PruneInputs& in, Journal& journal, const Progress& progress);

}  // namespace edgeq
