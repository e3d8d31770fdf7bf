// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace edgeq {

// Sets LibTorch and OpenBLAS to one thread each, for the process. at::set_num_threads alone does not reach
// Debian's OpenBLAS, which has a pool of its own; several windows that walk at once would queue for it.
void use_one_thread_per_product();

}  // namespace edgeq
