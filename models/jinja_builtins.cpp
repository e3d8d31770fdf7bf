// SPDX-License-Identifier: Apache-2.0
#include "models/jinja_builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "models/tokenizer_text.h"

namespace edgeq::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;

std::string_view strip(std::string_view text, bool left, bool right) {
  if (left) text.remove_prefix(leading_white_space(text));
  if (right) text.remove_suffix(trailing_white_space(text));
  return text;
}

// str.strip(characters): every character of the argument is one to remove.
std::string strip_set(const std::string& text, std::string_view set, bool left, bool right) {
  const std::vector<std::string> removed = characters(set), all = characters(text);
  const auto gone = [&](const std::string& c) {
    return std::find(removed.begin(), removed.end(), c) != removed.end();
  };
  auto first = all.begin(), last = all.end();
  while (left && first != last && gone(*first)) ++first;
  while (right && first != last && gone(*(last - 1))) --last;
  std::string out;
  for (; first != last; ++first) out += *first;
  return out;
}

std::string strip_method(const std::string& text, const Arguments& arguments, bool left, bool right) {
  const Value* set = arguments.find(0, "chars");
  if (!set || set->is<None>()) return std::string(strip(text, left, right));
  return strip_set(text, set->text(), left, right);
}

// Only ASCII has one answer without tables; other letters are refused rather than left as they are.
std::string change_case(const std::string& text, bool upper) {
  std::string out = text;
  for (char& c : out) {
    if (uint8_t(c) >= 0x80) throw Error("upper and lower are supported for ASCII text only");
    if (upper && c >= 'a' && c <= 'z') c = char(c - 32);
    if (!upper && c >= 'A' && c <= 'Z') c = char(c + 32);
  }
  return out;
}

std::string capitalized(const std::string& text) {
  if (text.empty()) return text;
  return change_case(text.substr(0, 1), true) + change_case(text.substr(1), false);
}

Value split_method(const std::string& text, const Arguments& arguments) {
  List parts;
  const Value* separator = arguments.find(0, "sep");
  const Value* limit = arguments.find(1, "maxsplit");
  int64_t left = limit ? limit->integer() : -1;
  if (!separator || separator->is<None>()) {
    std::string_view rest = strip(text, true, true);
    while (!rest.empty()) {
      size_t end = 0;
      while (end < rest.size() && !is_white_space(first_char(rest.substr(end)).code) && left != 0) {
        end += first_char(rest.substr(end)).length;
      }
      if (left == 0) end = rest.size();
      --left;
      parts.push_back(rest.substr(0, end));
      rest = strip(rest.substr(end), true, false);
    }
    return make_list(std::move(parts));
  }
  const std::string& by = separator->text();
  if (by.empty()) throw Error("split: an empty separator");
  size_t start = 0;
  for (size_t at; left-- != 0 && (at = text.find(by, start)) != std::string::npos; start = at + by.size()) {
    parts.push_back(text.substr(start, at - start));
  }
  parts.push_back(text.substr(start));
  return make_list(std::move(parts));
}

Value join(const Value& list, const std::string& separator) {
  std::string out;
  bool first = true;
  for (const Value& item : items_of(list)) {
    if (!first) out += separator;
    first = false;
    out += printed(item);
  }
  return out;
}

Value items_method(const Dict& dict) {
  List pairs;
  for (const auto& [key, value] : dict) pairs.push_back(make_list({Value(key), value}));
  return make_list(std::move(pairs));
}

int64_t length_of(const Value& value) {
  if (value.is<std::string>()) return int64_t(characters(value.text()).size());
  if (value.is_dict()) return int64_t(value.dict().size());
  if (value.is<Undefined>()) return 0;
  return int64_t(value.list().size());
}

Value text_method(const std::string& text, std::string_view name, const Arguments& arguments) {
  const auto argument = [&](size_t index) -> const std::string& {
    const Value* given = arguments.find(index);
    if (!given) throw Error(fmt::format("{}: argument {} is missing", name, index + 1));
    return given->text();
  };
  if (name == "strip") return strip_method(text, arguments, true, true);
  if (name == "lstrip") return strip_method(text, arguments, true, false);
  if (name == "rstrip") return strip_method(text, arguments, false, true);
  if (name == "split") return split_method(text, arguments);
  if (name == "startswith") return text.starts_with(argument(0));
  if (name == "endswith") return text.ends_with(argument(0));
  if (name == "upper" || name == "lower") return change_case(text, name == "upper");
  if (name == "capitalize") return capitalized(text);
  if (name == "removeprefix") return text.starts_with(argument(0)) ? text.substr(argument(0).size()) : text;
  if (name == "replace") {
    if (argument(0).empty()) throw Error("replace: an empty text");
    return replace_all(text, argument(0), argument(1));
  }
  throw Error(fmt::format("the method '{}' of a string is not supported", name));
}

Value to_integer(const Value& value) {
  if (!value.is<std::string>())
    return value.is<double>() ? Value(int64_t(std::get<double>(value))) : Value(value.integer());
  const std::string_view digits = strip(value.text(), true, true);
  int64_t number = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return problem == std::errc() && end == digits.data() + digits.size() ? number : int64_t(0);
}

// selectattr("role", "equalto", "user") and its opposite.
Value select_by_attribute(const Value& value, const Arguments& arguments, bool wanted) {
  const Value *attribute = arguments.find(0), *test = arguments.find(1);
  if (!attribute) throw Error("selectattr: which attribute is missing");
  Arguments rest;
  for (size_t i = 2; i < arguments.values.size(); ++i) rest.values.push_back(arguments.values[i]);
  List kept;
  for (const Value& item : items_of(value)) {
    const Value found = member(item, attribute->text());
    if ((test ? apply_test(found, test->text(), rest) : truthy(found)) == wanted) kept.push_back(item);
  }
  return make_list(std::move(kept));
}

Value map_attribute(const Value& value, const Arguments& arguments) {
  const Value* attribute = arguments.find(SIZE_MAX, "attribute");
  List out;
  for (const Value& item : items_of(value)) {
    if (attribute) {
      out.push_back(member(item, attribute->text()));
    } else if (const Value* filter = arguments.find(0)) {
      out.push_back(apply_filter(item, filter->text(), {}));
    }
  }
  return make_list(std::move(out));
}

Value end_of(const Value& value, bool first) {
  const List items = items_of(value);
  if (items.empty()) return Undefined{"first or last of nothing"};
  return first ? items.front() : items.back();
}

}  // namespace

const Value* Arguments::find(size_t index, std::string_view name) const {
  if (index < values.size()) return &values[index];
  for (const auto& [key, value] : named) {
    if (!name.empty() && key == name) return &value;
  }
  return nullptr;
}

bool has_function(std::string_view name) {
  return name == "range" || name == "namespace" || name == "raise_exception" || name == "dict";
}

Value call_function(std::string_view name, const Arguments& arguments) {
  if (name == "raise_exception") {
    const Value* message = arguments.find(0);
    throw Error(fmt::format("{}", message ? printed(*message) : "no reason given"));
  }
  if (name == "dict") return make_dict(arguments.named);
  if (name == "namespace") throw Error("a namespace is supported only as what 'set' gives to a name");
  if (name != "range" || arguments.values.empty())
    throw Error(fmt::format("the call of '{}' is not supported", name));
  const auto& values = arguments.values;
  const int64_t start = values.size() > 1 ? values[0].integer() : 0;
  const int64_t stop = values[values.size() > 1 ? 1 : 0].integer(),
                step = values.size() > 2 ? values[2].integer() : 1;
  List items;
  if (step == 0) throw Error("range: a step of 0");
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (int64_t(items.size()) == kMaxRange)
      throw Error(fmt::format("range: more than {} numbers", kMaxRange));
    items.push_back(i);
  }
  return make_list(std::move(items));
}

Value call_method(const Value& object, std::string_view name, const Arguments& arguments) {
  if (object.is<std::string>()) return text_method(object.text(), name, arguments);
  if (object.is_dict()) {
    if (name == "items") return items_method(object.dict());
    if (name == "keys") return make_list(items_of(object));
    if (name == "get" && arguments.find(0)) {
      const Value found = member(object, arguments.find(0)->text());
      if (!found.is<Undefined>()) return found;
      return arguments.find(1) ? *arguments.find(1) : Value(None{});
    }
  }
  throw Error(fmt::format("the method '{}' of a {} is not supported", name, type_name(object)));
}

Value apply_filter(const Value& value, std::string_view name, const Arguments& arguments) {
  if (name == "trim") return strip_method(printed(value), arguments, true, true);
  if (name == "length" || name == "count") return length_of(value);
  if (name == "upper" || name == "lower") return change_case(printed(value), name == "upper");
  if (name == "capitalize") return capitalized(printed(value));
  if (name == "default" || name == "d") {
    const Value *otherwise = arguments.find(0, "default_value"), *falsy = arguments.find(1, "boolean");
    const bool missing = value.is<Undefined>() || (falsy && truthy(*falsy) && !truthy(value));
    return !missing ? value : otherwise ? *otherwise : Value("");
  }
  if (name == "join") return join(value, arguments.find(0, "d") ? printed(*arguments.find(0, "d")) : "");
  if (name == "first" || name == "last") return end_of(value, name == "first");
  if (name == "list") return make_list(items_of(value));
  if (name == "items") return value.is<Undefined>() ? make_list({}) : items_method(value.dict());
  if (name == "string") return printed(value);
  if (name == "safe") return value;
  if (name == "int") return to_integer(value);
  if (name == "replace") return text_method(printed(value), name, arguments);
  if (name == "reverse" && value.is_list()) return slice(value, Undefined{}, Undefined{}, int64_t(-1));
  if (name == "selectattr" || name == "rejectattr")
    return select_by_attribute(value, arguments, name == "selectattr");
  if (name == "map") return map_attribute(value, arguments);
  throw Error(fmt::format("the filter '{}' is not supported", name));
}

bool apply_test(const Value& value, std::string_view name, const Arguments& arguments) {
  const auto other = [&]() -> const Value& {
    const Value* given = arguments.find(0);
    if (!given) throw Error(fmt::format("the test '{}' needs a value", name));
    return *given;
  };
  if (name == "defined") return !value.is<Undefined>();
  if (name == "undefined") return value.is<Undefined>();
  if (name == "none") return value.is<None>();
  if (name == "string") return value.is<std::string>();
  if (name == "mapping") return value.is_dict();
  if (name == "iterable")
    return value.is<std::string>() || value.is_list() || value.is_dict() || value.is<Undefined>();
  if (name == "sequence")
    return value.is<std::string>() || value.is_list() || value.is_dict() || value.is<Undefined>();
  if (name == "number") return value.is<int64_t>() || value.is<double>() || value.is<bool>();
  if (name == "integer") return value.is<int64_t>();
  if (name == "boolean") return value.is<bool>();
  if (name == "true" || name == "false") return value.is<bool>() && std::get<bool>(value) == (name == "true");
  if (name == "equalto" || name == "eq" || name == "==") return equal(value, other());
  if (name == "ne") return !equal(value, other());
  if (name == "in") return contains(other(), value);
  if (name == "odd" || name == "even") return (value.integer() % 2 != 0) == (name == "odd");
  if (name == "divisibleby" && other().integer() != 0) return value.integer() % other().integer() == 0;
  throw Error(fmt::format("the test '{}' is not supported", name));
}

Value slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  const List items = object.is<std::string>() ? items_of(object) : object.list();
  const int64_t size = int64_t(items.size()), by = step.is<Undefined>() ? 1 : step.integer();
  if (by == 0) throw Error("a slice with a step of 0");
  const auto bound = [&](const Value& value, int64_t otherwise) {
    if (value.is<Undefined>() || value.is<None>()) return otherwise;
    const int64_t at = value.integer() < 0 ? std::max(value.integer(), -size) + size : value.integer();
    // Left of everything is -1 for a walk to the left, and 0 for one to the right.
    if (value.integer() < -size) return by > 0 ? int64_t(0) : int64_t(-1);
    return std::min(at, by > 0 ? size : size - 1);
  };
  List kept;
  const int64_t first = bound(start, by > 0 ? 0 : size - 1), last = bound(stop, by > 0 ? size : -1);
  for (int64_t i = first; by > 0 ? i < last : i > last;) {
    kept.push_back(items[size_t(i)]);
    if (by > size || by < -size) break;
    i += by;
  }
  return object.is<std::string>() ? join(make_list(std::move(kept)), "") : make_list(std::move(kept));
}

}  // namespace edgeq::jinja
