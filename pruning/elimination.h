// SPDX-License-Identifier: Apache-2.0
// Units of a matrix's columns that go one after another, the others making up for each by least squares. With
// V = H'^-1 over the columns that are left and W as made up so far, unit u costs tr(W_u [V_uu]^-1 W_u^T) at
// the outputs; when it goes,
//   W -= W_u [V_uu]^-1 V_u,:      V -= V_:,u [V_uu]^-1 V_u,:
// (optimal brain surgeon for groups: arXiv 2302.04089). H' = H + 0.01 mean(diag H) I, damping raised where
// that does not suffice.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace edgeq {

class Elimination {
 public:
  // weight [out, d], hessian [d, d]; a unit is `width` columns.
  Elimination(MatrixView<const float> weight, MatrixView<const float> hessian, int64_t width);

  // [units] what each would cost if it went next; infinite for those that are gone.
  std::vector<double> costs() const;
  void remove(int64_t unit);

  // The least costly unit that `may_go` goes, until `go` are gone; `batch` of them before costs are taken
  // anew. Returns them in that order. `may_go` is asked again before each.
  std::vector<int64_t> remove_least(int64_t go, int64_t batch, const std::function<bool(int64_t)>& may_go);

 private:
  int64_t rows_, cols_, width_;
  std::vector<double> weight_, inverse_;  // [out, d], V [d, d]
  std::vector<bool> gone_;                // [units]
};

}  // namespace edgeq
