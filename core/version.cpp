// SPDX-License-Identifier: Apache-2.0
#include "core/version.h"

namespace edgeq {

std::string_view version() { return EDGEQ_VERSION; }

}  // namespace edgeq
