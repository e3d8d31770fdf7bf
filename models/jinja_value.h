// SPDX-License-Identifier: Apache-2.0
// The values that a chat template computes with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace edgeq::jinja {

struct Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;  // in order of insertion

struct Undefined {
  std::string name;  // for messages
};
struct None {};

// Lists and dictionaries are shared and do not change once made, but for namespaces, which no other value
// holds: there are no cycles.
struct Value : std::variant<Undefined, None, bool, int64_t, double, std::string, std::shared_ptr<List>,
                            std::shared_ptr<Dict>> {
  using variant::variant;
  Value(const char* text) : variant(std::string(text)) {}
  Value(std::string_view text) : variant(std::string(text)) {}

  template <class T>
  bool is() const {
    return std::holds_alternative<T>(*this);
  }
  bool is_list() const { return is<std::shared_ptr<List>>(); }
  bool is_dict() const { return is<std::shared_ptr<Dict>>(); }
  // Throw Error naming the type found.
  const std::string& text() const;
  int64_t integer() const;  // an integer or a bool
  List& list() const;
  Dict& dict() const;
};

Value make_list(List items);
Value make_dict(Dict items);

// "string", "int", ... as messages call it.
std::string_view type_name(const Value& value);
bool truthy(const Value& value);
// Throws Error when two values share parts so often that comparing them would not end.
bool equal(const Value& a, const Value& b);
// Numbers with numbers, texts with texts; throws Error for others.
bool less(const Value& a, const Value& b);
bool contains(const Value& container, const Value& item);
// What {{ value }} prints. Throws Error for what would print as a Python representation.
std::string printed(const Value& value);
// The member of a dictionary; Undefined when it has none.
Value member(const Value& object, std::string_view name);
// The items that a loop walks over: of a list, the keys of a dictionary, the characters of a text.
List items_of(const Value& value);
// A text by characters, for indexing.
std::vector<std::string> characters(std::string_view text);

}  // namespace edgeq::jinja
