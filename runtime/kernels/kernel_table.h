// SPDX-License-Identifier: Apache-2.0
// Which kernels run. The choice is made once per process, at run time: the best table this CPU supports, or
// the one $EDGEQ_ISA names.
#pragma once

#include <span>
#include <string_view>

#include "runtime/kernels/kernel_abi.h"

namespace edgeq {

// Tables of this build that this CPU can run, best first; the last one is always "scalar".
std::span<const KernelTable* const> runnable_kernels();

// The table of that name, or the best for an empty name. Throws Error for a name that is unknown or that this
// CPU cannot run, listing those it can.
const KernelTable& choose_kernels(std::string_view name);

// choose_kernels of $EDGEQ_ISA, read at the first call that succeeds.
const KernelTable& kernels();

}  // namespace edgeq
