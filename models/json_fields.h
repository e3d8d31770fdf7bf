// SPDX-License-Identifier: Apache-2.0
// A JSON object whose values are asked for by key and type, with messages that name both. An absent key and
// null are different things to transformers ("sliding_window": null means none, its absence means the
// default), so both can be told.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace edgeq {

class JsonFields {
 public:
  // Throws Error when the text is not JSON or not an object.
  explicit JsonFields(std::string_view json_text);

  bool has(const char* key) const;
  bool is_null(const char* key) const;
  bool has_value(const char* key) const { return has(key) && !is_null(key); }

  // nullopt when the key is absent or null. Throw Error when the value is of another type.
  std::optional<int64_t> integer(const char* key) const;
  std::optional<double> number(const char* key) const;
  std::optional<std::string> text(const char* key) const;
  std::optional<std::vector<double>> numbers(const char* key) const;
  std::optional<std::vector<std::string>> texts(const char* key) const;
  std::optional<JsonFields> object(const char* key) const;
  bool boolean(const char* key, bool otherwise) const;

  // Throw Error when the key is absent or null.
  int64_t required_integer(const char* key) const;
  double required_number(const char* key) const;
  std::vector<double> required_numbers(const char* key) const;

  bool holds_objects() const;  // any value is an object
  // "<path>key is 5; expected ..."
  Error wrong(const char* key, std::string_view expected) const;

 private:
  struct Node;
  JsonFields(std::shared_ptr<const Node> node, std::string path)
      : node_(std::move(node)), path_(std::move(path)) {}
  template <class T>
  T required(const char* key, std::optional<T> value) const;

  std::shared_ptr<const Node> node_;
  std::string path_;  // "rope_parameters."
};

}  // namespace edgeq
