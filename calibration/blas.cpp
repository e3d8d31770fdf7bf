// SPDX-License-Identifier: Apache-2.0
#include "calibration/blas.h"

#include <cblas.h>

#include <mutex>

namespace edgeq {
namespace {

// OpenBLAS has one setting for the whole process, hence a count for the whole process.
std::mutex g_mutex;
int g_living = 0, g_threads_before = 0;

}  // namespace

OneBlasThread::OneBlasThread() {
  const std::lock_guard lock(g_mutex);
  if (g_living++ != 0) return;
  g_threads_before = openblas_get_num_threads();
  openblas_set_num_threads(1);
}

OneBlasThread::~OneBlasThread() {
  const std::lock_guard lock(g_mutex);
  if (--g_living == 0) openblas_set_num_threads(g_threads_before);
}

}  // namespace edgeq
