// SPDX-License-Identifier: Apache-2.0
// The syntax of chat templates: Jinja text -> a tree. Grammar: https://jinja.palletsprojects.com/templates
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/jinja_value.h"

namespace edgeq::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind : uint8_t {
    literal,      // value
    name,         // text
    list,         // parts
    dict,         // parts: key, value, key, value ...
    member,       // parts[0] . text
    subscript,    // parts[0] [ parts[1] ]
    slice,        // parts[0] [ parts[1] : parts[2] : parts[3] ], absent parts are null
    call,         // parts[0] is a name or a member; arguments follow
    filter,       // parts[0] | text ( arguments )
    test,         // parts[0] is text ( arguments )
    unary,        // text: "not", "-"
    binary,       // text: the operator
    conditional,  // parts[0] if parts[1] else parts[2]
  };
  Kind kind = Kind::literal;
  std::string text;
  Value value;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> named;  // keyword arguments of calls and filters
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum class Kind : uint8_t {
    text,    // text
    output,  // {{ expression }}
    branch,  // if: condition (null: else), body; the next alternatives in otherwise
    loop,    // for names in expression [if condition]; otherwise: for an empty list
    assign,  // set names = expression, or names[0].attribute = expression, or of a body
    macro,   // names[0]: known by name only
    leave,   // break
    again,   // continue
  };
  Kind kind = Kind::text;
  std::string text, attribute;
  std::vector<std::string> names;
  ExpressionPtr expression, condition;
  Body body, otherwise;
};

// Throws Error naming the line and what is wrong or not supported.
Body parse(std::string_view source);

}  // namespace edgeq::jinja
