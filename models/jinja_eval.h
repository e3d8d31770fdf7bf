// SPDX-License-Identifier: Apache-2.0
// Runs a parsed template.
#pragma once

#include <cstdint>
#include <string>

#include "models/jinja_parse.h"
#include "models/jinja_value.h"

namespace edgeq::jinja {

// `globals`: the variables that the template sees. Throws Error for what the template does wrong, what is not
// supported, and more than `max_steps` of work (a step is a piece of syntax or 64 bytes of text).
std::string render(const Body& body, const Dict& globals, int64_t max_steps);

}  // namespace edgeq::jinja
