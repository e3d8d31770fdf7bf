// SPDX-License-Identifier: Apache-2.0
#include "calibration/cholesky.h"

#include "calibration/blas.h"
#include "core/error.h"

// LAPACK as OpenBLAS exports it. Debian's header of these declarations needs C's complex types.
extern "C" {
void dpotrf_(const char* uplo, const int* n, double* a, const int* stride, int* info);
void dtrtri_(const char* uplo, const char* diagonal, const int* n, double* a, const int* stride, int* info);
}

namespace edgeq {
namespace {

// LAPACK is column-major: our lower triangle is its upper one, and A = L L^T is its A = U^T U.
constexpr char kUpper = 'U';

}  // namespace

bool cholesky(MatrixView<double> a) {
  EDGEQ_CHECK(a.rows == a.cols, "a Cholesky factorization gets a square matrix");
  const OneBlasThread one_blas_thread;
  const int n = int(a.rows), stride = int(a.stride);
  int info = 0;
  dpotrf_(&kUpper, &n, a.data, &stride, &info);
  return info == 0;
}

void invert_lower(MatrixView<double> l) {
  EDGEQ_CHECK(l.rows == l.cols, "only square matrices have an inverse");
  const OneBlasThread one_blas_thread;
  const int n = int(l.rows), stride = int(l.stride);
  const char general = 'N';
  int info = 0;
  dtrtri_(&kUpper, &general, &n, l.data, &stride, &info);
  EDGEQ_CHECK(info == 0, "a triangular matrix without zeros on its diagonal has an inverse");
}

}  // namespace edgeq
