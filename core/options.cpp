// SPDX-License-Identifier: Apache-2.0
#include "core/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>

#include "core/error.h"

namespace edgeq {
namespace {

template <class T>
T parse(std::string_view name, const std::string& value, T low, T high) {
  T result{};
  const char* end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, result);
  // The negated comparison also refuses NaN.
  if (error != std::errc() || stop != end || !(result >= low && result <= high))
    throw Error(fmt::format("option {} is \"{}\"; expected a number from {} to {}", name, value, low, high));
  return result;
}

}  // namespace

const std::string* Options::find(std::string_view name) const {
  read_.emplace(name);
  const auto found = values_.find(std::string(name));
  return found == values_.end() ? nullptr : &found->second;
}

double Options::number(std::string_view name, double otherwise, double low, double high) const {
  const std::string* value = find(name);
  return value != nullptr ? parse(name, *value, low, high) : otherwise;
}

int64_t Options::integer(std::string_view name, int64_t otherwise, int64_t low, int64_t high) const {
  const std::string* value = find(name);
  return value != nullptr ? parse(name, *value, low, high) : otherwise;
}

bool Options::boolean(std::string_view name, bool otherwise) const {
  const std::string* value = find(name);
  if (value == nullptr) return otherwise;
  if (*value != "true" && *value != "false")
    throw Error(fmt::format("option {} is \"{}\"; expected true or false", name, *value));
  return *value == "true";
}

std::string Options::text(std::string_view name, std::string_view otherwise) const {
  const std::string* value = find(name);
  return value != nullptr ? *value : std::string(otherwise);
}

void Options::finish() const {
  for (const auto& [name, value] : values_) {
    if (read_.contains(name)) continue;
    if (read_.empty()) throw Error(fmt::format("unknown option {}; this method has no options", name));
    throw Error(fmt::format("unknown option {}; expected one of {}", name, fmt::join(read_, ", ")));
  }
}

}  // namespace edgeq
