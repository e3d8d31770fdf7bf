// SPDX-License-Identifier: Apache-2.0
#include "models/torch/threads.h"

#include <ATen/Parallel.h>
#include <cblas.h>

namespace edgeq {

void use_one_thread_per_product() {
  at::set_num_threads(1);
  openblas_set_num_threads(1);
}

}  // namespace edgeq
