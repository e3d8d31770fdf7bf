// SPDX-License-Identifier: Apache-2.0
// Symmetric positive definite matrices in double precision, by LAPACK, on the calling thread. Row-major; only
// the lower triangle is read and written.
#pragma once

#include "core/tensor.h"

namespace edgeq {

// A = L L^T in place: the lower triangle of `a` [d, d] becomes L. False when A is not positive definite (or
// not finite); `a` is then unusable.
bool cholesky(MatrixView<double> a);

// The inverse of a lower triangular matrix without zeros on its diagonal, in place.
void invert_lower(MatrixView<double> l);

}  // namespace edgeq
