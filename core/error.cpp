// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"

#include <fmt/format.h>

namespace edgeq {

Error& Error::add_context(std::string_view context) {
  message_ = fmt::format("{}: {}", context, message_);
  return *this;
}

Error& Error::set_hint(std::string hint) {
  hint_ = std::move(hint);
  return *this;
}

void throw_bug(const char* file, int line, const char* condition, const char* text) {
  throw Bug(fmt::format("{}:{}: {} ({})", file, line, text, condition));
}

}  // namespace edgeq
