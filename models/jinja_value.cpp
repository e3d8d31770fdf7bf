// SPDX-License-Identifier: Apache-2.0
#include "models/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "models/tokenizer_text.h"

namespace edgeq::jinja {
namespace {

bool is_number(const Value& value) { return value.is<bool>() || value.is<int64_t>() || value.is<double>(); }

double number(const Value& value) {
  return value.is<double>() ? std::get<double>(value) : double(value.integer());
}

[[noreturn]] void wrong_type(const Value& value, std::string_view expected) {
  const std::string name = value.is<Undefined>() ? " '" + std::get<Undefined>(value).name + "'" : "";
  throw Error(fmt::format("found {}{}, expected {}", type_name(value), name, expected));
}

bool equal_within(const Value& a, const Value& b, int64_t& comparisons) {
  if (--comparisons < 0) throw Error("values too large to compare");
  const auto same = [&](const Value& x, const Value& y) { return equal_within(x, y, comparisons); };
  if (is_number(a) && is_number(b)) return number(a) == number(b);
  if (a.index() != b.index()) return false;
  if (a.is<std::string>()) return a.text() == b.text();
  if (a.is_list())
    return std::equal(a.list().begin(), a.list().end(), b.list().begin(), b.list().end(), same);
  if (!a.is_dict()) return true;  // both undefined or none
  return a.dict().size() == b.dict().size() &&
         std::all_of(a.dict().begin(), a.dict().end(),
                     [&](const auto& entry) { return same(entry.second, member(b, entry.first)); });
}

}  // namespace

const std::string& Value::text() const {
  if (!is<std::string>()) wrong_type(*this, "a string");
  return std::get<std::string>(*this);
}

int64_t Value::integer() const {
  if (is<bool>()) return std::get<bool>(*this);
  if (!is<int64_t>()) wrong_type(*this, "an int");
  return std::get<int64_t>(*this);
}

List& Value::list() const {
  if (!is_list()) wrong_type(*this, "a list");
  return *std::get<std::shared_ptr<List>>(*this);
}

Dict& Value::dict() const {
  if (!is_dict()) wrong_type(*this, "a dict");
  return *std::get<std::shared_ptr<Dict>>(*this);
}

Value make_list(List items) { return std::make_shared<List>(std::move(items)); }
Value make_dict(Dict items) { return std::make_shared<Dict>(std::move(items)); }

std::string_view type_name(const Value& value) {
  constexpr std::array<std::string_view, 8> kNames = {"undefined", "none",   "bool", "int",
                                                      "float",     "string", "list", "dict"};
  return kNames[value.index()];
}

bool truthy(const Value& value) {
  if (value.is<Undefined>() || value.is<None>()) return false;
  if (is_number(value)) return number(value) != 0;
  if (value.is<std::string>()) return !value.text().empty();
  return value.is_list() ? !value.list().empty() : !value.dict().empty();
}

bool equal(const Value& a, const Value& b) {
  int64_t comparisons = 100'000;
  return equal_within(a, b, comparisons);
}

bool less(const Value& a, const Value& b) {
  if (is_number(a) && is_number(b)) return number(a) < number(b);
  return a.text() < b.text();
}

bool contains(const Value& container, const Value& item) {
  if (container.is<std::string>()) return container.text().find(item.text()) != std::string::npos;
  if (container.is_dict()) return item.is<std::string>() && !member(container, item.text()).is<Undefined>();
  if (container.is<Undefined>()) return false;
  const List& list = container.list();
  return std::any_of(list.begin(), list.end(), [&](const Value& other) { return equal(item, other); });
}

std::string printed(const Value& value) {
  if (value.is<Undefined>()) return "";
  if (value.is<None>()) return "None";
  if (value.is<bool>()) return std::get<bool>(value) ? "True" : "False";
  if (value.is<int64_t>()) return std::to_string(value.integer());
  return value.text();
}

Value member(const Value& object, std::string_view name) {
  if (object.is_dict()) {
    for (const auto& [key, value] : object.dict()) {
      if (key == name) return value;
    }
  } else if (object.is<Undefined>()) {
    throw Error(fmt::format("'{}' is undefined and has no '{}'", std::get<Undefined>(object).name, name));
  }
  return Undefined{std::string(name)};
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t length = first_char(text).length;
    out.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return out;
}

List items_of(const Value& value) {
  if (value.is<Undefined>()) return {};
  List items;
  if (value.is_dict()) {
    for (const auto& [key, unused] : value.dict()) items.push_back(key);
  } else if (value.is<std::string>()) {
    for (std::string& c : characters(value.text())) items.push_back(std::move(c));
  } else {
    items = value.list();
  }
  return items;
}

}  // namespace edgeq::jinja
