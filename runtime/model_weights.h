// SPDX-License-Identifier: Apache-2.0
// The weights of a decoder as the runtime holds them, from a packed file or a float checkpoint.
#pragma once

#include <memory>
#include <vector>

#include "models/config.h"
#include "models/import.h"
#include "models/packed_model.h"
#include "runtime/packed_matrix.h"

namespace edgeq {

struct Linear {
  PackedMatrix weight;
  std::vector<float> bias;  // empty: none
};

// Empty gain: no norm. Empty bias: NormKind::rms.
struct Norm {
  std::vector<float> gain, bias;
};

struct LayerWeights {
  Norm attn_norm, attn_post_norm, mlp_norm, mlp_post_norm;
  std::vector<float> q_norm, k_norm;  // empty: none
  Linear q, k, v, o, gate, up, down;  // gate: without rows where there is none
};

struct ModelWeights {
  ModelConfig config;
  std::shared_ptr<const PackedModel> file;  // keeps mapped weights alive; null for owned ones
  PackedMatrix embedding;
  std::vector<LayerWeights> layers;
  Norm final_norm;
  std::vector<float> positions;  // [context, hidden] where they are learned
  PackedMatrix head;             // without rows when tied

  const PackedMatrix& head_matrix() const { return config.tied_head ? embedding : head; }
  int64_t bytes() const;            // of all panels
  int64_t bytes_per_token() const;  // of the panels that one decode step reads
};

// Both sources have checked on opening that they hold what the config calls for.
ModelWeights map_weights(std::shared_ptr<const PackedModel> file, const KernelTable& kernels);
ModelWeights repack_weights(const Checkpoint& checkpoint, const KernelTable& kernels);

}  // namespace edgeq
