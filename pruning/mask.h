// SPDX-License-Identifier: Apache-2.0
// Zeros in a weight that stays as large as it is: a share of it, or all but n of every m columns of a row
// (n:m, 2:4 keeps two of four). With x the inputs, the weights that go are those with the least
//   magnitude  |w_j|                       of a row
//   wanda      |w_j| (E x_j^2)^(1/2)       of a row (arXiv 2306.11695)
//   sparsegpt  w_j^2 / U_jj^2              H'^-1 = U^T U, the factor of the quantizers' feedback; the columns
//                                          behind make up for each: w_k -= w_j / U_jj U_jk (arXiv 2301.00774)
// SparseGPT takes a share of all rows of 128 columns together, and a pattern when its columns come up, with
// what those before have moved. Columns whose inputs are always 0 become zeros first.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "calibration/stats.h"
#include "core/tensor.h"

namespace edgeq {

// A share of zeros, or so many kept in every `of` columns.
struct Sparsity {
  double share = 0;
  int64_t kept = 0, of = 0;  // of != 0: a pattern
};
// "0.5" -> a share in (0, 1). "2:4" -> a pattern, 1 <= n < m. Throw Error for anything else.
Sparsity parse_share(std::string_view text);
Sparsity parse_pattern(std::string_view text);
std::string sparsity_text(const Sparsity& sparsity);  // "0.5", "2:4"
// Throws Error when a pattern does not divide so many columns.
void check_columns(const Sparsity& sparsity, int64_t columns);

struct MaskEntry {
  std::string_view name, summary;
  unsigned needs;  // Need flags
  void (*apply)(MatrixView<float> weight, const InputStats& inputs, const Sparsity& sparsity);
};
std::span<const MaskEntry> mask_methods();
// Throws Error for an unknown name (listing the known).
const MaskEntry& mask_method(std::string_view name);

// Throws Error as check_columns(). The same for any number of threads.
void mask_weight(const MaskEntry& method, MatrixView<float> weight, const InputStats& inputs,
                 const Sparsity& sparsity);

}  // namespace edgeq
