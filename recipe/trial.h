// SPDX-License-Identifier: Apache-2.0
// Candidates tried on a few rows of a weight: what their rounding would cost the model (the formulas are in
// recipe/sensitivity.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibration/stats.h"
#include "models/blockwise_model.h"
#include "recipe/plan.h"

namespace edgeq {

// Sums of squared gradients at the outputs of one matrix product, in one window.
struct WindowEnergy {
  std::vector<double> rows;    // [out], over tokens
  std::vector<double> tokens;  // [tokens], over rows
  // gradient [tokens, out]: those of the next tokens.
  void add(MatrixView<const float> gradient);
};

// The same over all windows.
struct Energy {
  std::vector<double> rows;                   // [out] mean over tokens
  std::vector<std::vector<double>> relative;  // [windows][tokens] of each token, its mean being 1
};
Energy energy_of(std::span<const WindowEnergy> windows);

// E(e x x^T) of the inputs x of all windows, e being a token's relative energy.
InputStats weighted_stats(std::span<const State> states, const Energy& energy);

// How many rows are tried.
inline constexpr int64_t kTrialRows = 128;

// A weight as a matrix product: 1/2 sum_r E(g_r^2) D_r H D_r^T, estimated from rows drawn in proportion to
// E(g_r^2) |W_r|^2.
class ProductTrial {
 public:
  // weighted: weighted_stats() of what the product reads; outlives the trial.
  ProductTrial(MatrixView<const float> weight, const Energy& energy, const InputStats& weighted);
  // stats: what the candidate's quantizer reads. Thread-safe.
  double cost(const SitePlan& candidate, const InputStats& stats) const;

 private:
  Tensor unit(Tensor rows) const;

  const InputStats& weighted_;
  double sum_ = 0;             // over all rows, of what they are drawn by
  Tensor rows_;                // drawn
  std::vector<double> norms_;  // theirs
};

// A weight as a look-up: 1/2 sum_c columns[c] D_tc^2, the mean over the tokens t whose rows are tried.
class LookupTrial {
 public:
  // columns: E(g_c^2) at what is looked up.
  LookupTrial(MatrixView<const float> table, std::span<const TokenId> tokens, std::vector<double> columns);
  double cost(const SitePlan& candidate, const InputStats& stats) const;

 private:
  Tensor rows_;
  std::vector<double> columns_;
};

}  // namespace edgeq
