// SPDX-License-Identifier: Apache-2.0
// What a unit is worth, by one of several scores: the higher, the rather it stays. A unit is `width` columns
// of the matrix that reads it (a head's columns of o_proj, a channel's column of down_proj) and the rows that
// make it. With W_u its columns, x_u its inputs, g the gradient of a loss at the outputs of the reader:
//   magnitude  |W_u|^2 + |rows|^2
//   wanda      sum_j |W_j|^2 E x_j^2                    arXiv 2306.11695 (its structured form)
//   flap       sum_j |W_j|^2 Var x_j                    arXiv 2312.11983
//   gate       E over windows of |sum_t g . W_u x_u|    arXiv 1905.10650: the loss is that of the text
//   taylor     E over tokens of (g . W_u x_u)^2         the loss is that of a token drawn from the
//   prediction,
//              so that half of it is the divergence to second order (Fisher information)
//   obs        what is left of the outputs' change after the other columns make up for it by least squares,
//              tr(W_u [(H^-1)_uu]^-1 W_u^T); units go one after another, each with what went before counted
//              (arXiv 1705.07565, structured as in ZipLM, arXiv 2302.04089)
// Of whole blocks: influence, 1 - E cos(entering, leaving) (arXiv 2403.03853), and taylor, with the block's
// update of the residual stream in the place of W_u x_u.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "calibration/stats.h"
#include "core/tensor.h"

namespace edgeq {

// Of the gradients of gates on units, over calibration windows.
struct GateMoments {
  std::vector<double> absolute;  // [units] mean over windows of |sum over tokens|
  std::vector<double> square;    // [units] mean over tokens
};

// What is known of the units of one reader.
struct UnitFacts {
  MatrixView<const float> reader;               // [out, units * width]
  int64_t width = 1;                            // columns of a unit
  std::vector<MatrixView<const float>> makers;  // rows of which equal runs make a unit each
  const InputStats* inputs = nullptr;           // of the reader
  const GateMoments* gates = nullptr;           // for scores that read gradients
  int64_t units() const { return reader.cols / width; }
};

// Which gradients a score reads: of the loss on the text, or of that on drawn tokens.
enum class Loss : uint8_t { none, text, drawn };

struct ScoreEntry {
  std::string_view name, summary;
  bool of_units, of_blocks;
  unsigned needs;  // Need flags, of the reader's inputs
  Loss loss;
  std::vector<double> (*score)(const UnitFacts&);  // [units]; null for scores of blocks alone
  bool one_by_one;  // units go one after another (pruning/elimination.h), the scores being those of the first
                    // to go
};

// `edgeq list pruners` prints it.
std::span<const ScoreEntry> scores();
// Throw Error for an unknown name (listing the known), or one that is not for units or for blocks.
const ScoreEntry& unit_score(std::string_view name);
const ScoreEntry& block_score(std::string_view name);

// g . W_u x_u of each token and unit, [tokens, units]; x [tokens, in], gradient [tokens, out].
Tensor gate_gradients(MatrixView<const float> reader, int64_t width, MatrixView<const float> x,
                      MatrixView<const float> gradient);

}  // namespace edgeq
