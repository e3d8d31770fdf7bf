// SPDX-License-Identifier: Apache-2.0
// Named options of a method (`options: {damp: 0.01}` in a recipe). A maker reads what it knows and then calls
// `finish`: whatever nobody read is an Error that lists the valid names, so that a typing error is never
// silently ignored.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace edgeq {

class Options {
 public:
  Options() = default;
  explicit Options(std::map<std::string, std::string> values) : values_(std::move(values)) {}

  void set(std::string name, std::string value) { values_[std::move(name)] = std::move(value); }
  const std::map<std::string, std::string>& values() const { return values_; }

  // The value as the asked type, or the default when absent. Out of [low, high] or malformed: Error with name
  // and value.
  double number(std::string_view name, double otherwise, double low, double high) const;
  int64_t integer(std::string_view name, int64_t otherwise, int64_t low, int64_t high) const;
  bool boolean(std::string_view name, bool otherwise) const;  // true | false
  std::string text(std::string_view name, std::string_view otherwise) const;

  // Throws Error for the first name that was never read.
  void finish() const;

  friend bool operator==(const Options& a, const Options& b) { return a.values_ == b.values_; }

 private:
  const std::string* find(std::string_view name) const;
  std::map<std::string, std::string> values_;
  mutable std::set<std::string, std::less<>> read_;
};

}  // namespace edgeq
