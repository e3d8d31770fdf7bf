// SPDX-License-Identifier: Apache-2.0
// The functions, methods, filters and tests that chat templates call.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/jinja_value.h"

namespace edgeq::jinja {

struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;
  // Argument `index` or the one of that name; nullptr when neither was given.
  const Value* find(size_t index, std::string_view name = {}) const;
};

// Each throws Error for a name that is not supported or arguments that do not fit.
Value call_function(std::string_view name, const Arguments& arguments);  // range, dict, raise_exception
bool has_function(std::string_view name);
Value call_method(const Value& object, std::string_view name, const Arguments& arguments);
Value apply_filter(const Value& value, std::string_view name, const Arguments& arguments);
bool apply_test(const Value& value, std::string_view name, const Arguments& arguments);

// object[start:stop:step] with Python's rules; an undefined bound is absent.
Value slice(const Value& object, const Value& start, const Value& stop, const Value& step);

}  // namespace edgeq::jinja
