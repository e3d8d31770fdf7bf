// SPDX-License-Identifier: Apache-2.0
#include "models/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace edgeq {

using nlohmann::json;

struct JsonFields::Node {
  json object;

  // nullptr when the key is absent or null.
  const json* find(const char* key) const {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
};

JsonFields::JsonFields(std::string_view json_text) {
  json value = json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) throw Error("not valid JSON");
  if (!value.is_object()) throw Error("the top level is not an object");
  node_ = std::make_shared<const Node>(Node{std::move(value)});
}

bool JsonFields::has(const char* key) const { return node_->object.contains(key); }
bool JsonFields::is_null(const char* key) const { return has(key) && node_->object.at(key).is_null(); }

std::optional<int64_t> JsonFields::integer(const char* key) const {
  const json* value = node_->find(key);
  if (value == nullptr) return std::nullopt;
  // An unsigned value past 2^63 would wrap: it is as absurd as a text.
  if (!value->is_number_integer() || (value->is_number_unsigned() && *value > uint64_t(INT64_MAX)))
    throw wrong(key, "an integer");
  return value->get<int64_t>();
}

std::optional<double> JsonFields::number(const char* key) const {
  const json* value = node_->find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) throw wrong(key, "a number");
  return value->get<double>();
}

std::optional<std::string> JsonFields::text(const char* key) const {
  const json* value = node_->find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) throw wrong(key, "a text");
  return value->get<std::string>();
}

std::optional<std::vector<double>> JsonFields::numbers(const char* key) const {
  const json* value = node_->find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array() || !std::ranges::all_of(*value, [](const json& v) { return v.is_number(); }))
    throw wrong(key, "a list of numbers");
  return value->get<std::vector<double>>();
}

std::optional<std::vector<std::string>> JsonFields::texts(const char* key) const {
  const json* value = node_->find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array() || !std::ranges::all_of(*value, [](const json& v) { return v.is_string(); }))
    throw wrong(key, "a list of texts");
  return value->get<std::vector<std::string>>();
}

std::optional<JsonFields> JsonFields::object(const char* key) const {
  const json* value = node_->find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) throw wrong(key, "an object");
  return JsonFields(std::make_shared<const Node>(Node{*value}), fmt::format("{}{}.", path_, key));
}

bool JsonFields::boolean(const char* key, bool otherwise) const {
  const json* value = node_->find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) throw wrong(key, "true or false");
  return value->get<bool>();
}

template <class T>
T JsonFields::required(const char* key, std::optional<T> value) const {
  if (!value) throw Error(fmt::format("{}{} is missing", path_, key));
  return *std::move(value);
}

int64_t JsonFields::required_integer(const char* key) const { return required(key, integer(key)); }
double JsonFields::required_number(const char* key) const { return required(key, number(key)); }
std::vector<double> JsonFields::required_numbers(const char* key) const {
  return required(key, numbers(key));
}

bool JsonFields::holds_objects() const {
  return std::ranges::any_of(node_->object, [](const json& value) { return value.is_object(); });
}

Error JsonFields::wrong(const char* key, std::string_view expected) const {
  if (!has(key)) return Error(fmt::format("{}{} is missing; expected {}", path_, key, expected));
  const json& value = node_->object.at(key);
  // Containers are not shown: writing a deeply nested one recurses.
  std::string found = value.is_structured() ? fmt::format("an {}", value.type_name())
                                            : value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (found.size() > 60) found = found.substr(0, 57) + "...";
  return Error(fmt::format("{}{} is {}; expected {}", path_, key, found, expected));
}

}  // namespace edgeq
