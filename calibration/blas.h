// SPDX-License-Identifier: Apache-2.0
// BLAS as edgeq uses it: many calls at once, each on the thread that makes it. A multi-threaded BLAS may
// split its sums by the number of threads, and results must not depend on that.
#pragma once

namespace edgeq {

// While any of these lives, OpenBLAS runs every call on the calling thread; when the last is gone, it has the
// threads back that it had before. Thread-safe.
class OneBlasThread {
 public:
  OneBlasThread();
  ~OneBlasThread();
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;
};

}  // namespace edgeq
