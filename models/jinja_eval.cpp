// SPDX-License-Identifier: Apache-2.0
#include "models/jinja_eval.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "models/jinja_builtins.h"

namespace edgeq::jinja {
namespace {

constexpr int64_t kBytesPerStep = 64;
constexpr int64_t kLoopSteps = 10;  // of the variables that each round of a loop gets

class Evaluator {
 public:
  Evaluator(const Dict& globals, int64_t max_steps) : scopes_(1), max_steps_(max_steps) {
    for (const auto& [name, value] : globals) scopes_[0][name] = value;
  }

  std::string run(const Body& body) {
    std::string out;
    execute(body, out);
    return out;
  }

 private:
  enum class Flow : uint8_t { on, leave, again };

  // Counts the work of making or copying a value; a hostile template may loop over loops and double its
  // texts.
  void charge(int64_t steps) {
    steps_ += steps;
    if (steps_ > max_steps_) throw Error(fmt::format("takes more than {} steps", max_steps_));
  }
  void charge(const Value& value) {
    charge(1 + (value.is<std::string>() ? int64_t(value.text().size()) / kBytesPerStep : 0));
    if (!value.is_list()) return;
    for (const Value& item : value.list()) {
      charge(1 + (item.is<std::string>() ? int64_t(item.text().size()) / kBytesPerStep : 0));
    }
  }

  Flow execute(const Body& body, std::string& out) {
    for (const Statement& statement : body) {
      if (const Flow flow = execute(statement, out); flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  Flow execute(const Statement& statement, std::string& out) {
    charge(1);
    switch (statement.kind) {
      case Statement::Kind::text:
        charge(int64_t(statement.text.size()) / kBytesPerStep);
        out += statement.text;
        break;
      case Statement::Kind::output: out += printed(value_of(*statement.expression)); break;
      case Statement::Kind::branch:
        return execute(truthy(value_of(*statement.condition)) ? statement.body : statement.otherwise, out);
      case Statement::Kind::loop: return loop(statement, out);
      case Statement::Kind::assign: assign(statement); break;
      case Statement::Kind::macro: macros_.insert(statement.names[0]); break;
      case Statement::Kind::leave: return Flow::leave;
      case Statement::Kind::again: return Flow::again;
    }
    return Flow::on;
  }

  void bind(const std::vector<std::string>& names, const Value& value) {
    if (names.size() == 1) {
      scopes_.back()[names[0]] = value;
      return;
    }
    const List& parts = value.list();
    if (parts.size() != names.size()) {
      throw Error(fmt::format("{} values for {} names", parts.size(), names.size()));
    }
    for (size_t i = 0; i < names.size(); ++i) scopes_.back()[names[i]] = parts[i];
  }

  List loop_items(const Statement& statement) {
    List items = items_of(value_of(*statement.expression));
    charge(int64_t(items.size()));
    if (!statement.condition) return items;
    List kept;
    scopes_.emplace_back();
    for (Value& item : items) {
      bind(statement.names, item);
      if (truthy(value_of(*statement.condition))) kept.push_back(std::move(item));
    }
    scopes_.pop_back();
    return kept;
  }

  Flow loop(const Statement& statement, std::string& out) {
    const List items = loop_items(statement);
    if (items.empty()) return execute(statement.otherwise, out);
    const int64_t count = int64_t(items.size());
    for (int64_t i = 0; i < count; ++i) {
      charge(kLoopSteps);
      const auto neighbour = [&](int64_t at) {
        return at >= 0 && at < count ? items[size_t(at)] : Value(Undefined{"a neighbour of the loop's item"});
      };
      // What a round sets is gone in the next one.
      scopes_.emplace_back();
      scopes_.back()["loop"] = make_dict({{"index", i + 1},
                                          {"index0", i},
                                          {"first", i == 0},
                                          {"last", i + 1 == count},
                                          {"length", count},
                                          {"revindex", count - i},
                                          {"revindex0", count - i - 1},
                                          {"previtem", neighbour(i - 1)},
                                          {"nextitem", neighbour(i + 1)}});
      bind(statement.names, items[size_t(i)]);
      const Flow flow = execute(statement.body, out);
      scopes_.pop_back();
      if (flow == Flow::leave) break;
    }
    return Flow::on;
  }

  static bool makes_namespace(const Expression& e) {
    return e.kind == Expression::Kind::call && e.parts[0]->kind == Expression::Kind::name &&
           e.parts[0]->text == "namespace";
  }

  void assign(const Statement& statement) {
    Value value;
    if (statement.expression && makes_namespace(*statement.expression)) {
      value = make_dict(arguments_of(*statement.expression).named);
      namespaces_.insert(&value.dict());
      spaces_.push_back(value);
    } else if (statement.expression) {
      value = value_of(*statement.expression);
    } else {
      std::string text;
      execute(statement.body, text);
      value = std::move(text);
    }
    if (statement.attribute.empty()) return bind(statement.names, value);
    const Value object = lookup(statement.names[0]);
    if (!is_namespace(object)) throw Error(fmt::format("'{}' is not a namespace", statement.names[0]));
    Dict& space = object.dict();
    for (auto& [name, old] : space) {
      if (name == statement.attribute) {
        old = std::move(value);
        return;
      }
    }
    space.emplace_back(statement.attribute, std::move(value));
  }

  Value lookup(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) return found->second;
    }
    return Undefined{name};
  }

  bool is_namespace(const Value& value) const {
    return value.is_dict() && namespaces_.contains(&value.dict());
  }

  Value value_of(const Expression& e) {
    Value value = compute(e);
    charge(value);
    return value;
  }

  // Namespaces are the only values that change. They are never members of others, so nothing holds itself.
  Value value_of_name(const std::string& name) const {
    Value value = lookup(name);
    if (is_namespace(value))
      throw Error(fmt::format("the namespace '{}' used as a value is not supported", name));
    return value;
  }

  Value compute(const Expression& e) {
    using Kind = Expression::Kind;
    switch (e.kind) {
      case Kind::literal: return e.value;
      case Kind::name: return value_of_name(e.text);
      case Kind::list: return make_list(values_of(e));
      case Kind::dict: {
        Dict items;
        for (size_t i = 0; i < e.parts.size(); i += 2) {
          items.emplace_back(value_of(*e.parts[i]).text(), value_of(*e.parts[i + 1]));
        }
        return make_dict(std::move(items));
      }
      case Kind::member: {
        const Expression& object = *e.parts[0];
        return member(object.kind == Kind::name ? lookup(object.text) : value_of(object), e.text);
      }
      case Kind::subscript: return subscript(value_of(*e.parts[0]), value_of(*e.parts[1]));
      case Kind::slice: {
        const auto part = [&](size_t i) { return e.parts[i] ? value_of(*e.parts[i]) : Value(Undefined{}); };
        return slice(part(0), part(1), part(2), part(3));
      }
      case Kind::call: return call(e);
      case Kind::filter: return apply_filter(value_of(*e.parts[0]), e.text, arguments_of(e));
      case Kind::test: return test(e);
      case Kind::unary: {
        const Value value = value_of(*e.parts[0]);
        return e.text == "not" ? Value(!truthy(value)) : Value(-value.integer());
      }
      case Kind::binary: return binary(e);
      case Kind::conditional: return value_of(*e.parts[truthy(value_of(*e.parts[1])) ? 0 : 2]);
    }
    return Undefined{};
  }

  List values_of(const Expression& e) {
    List items;
    for (const ExpressionPtr& part : e.parts) items.push_back(value_of(*part));
    return items;
  }

  Arguments arguments_of(const Expression& e) {
    Arguments made;
    for (size_t i = 1; i < e.parts.size(); ++i) made.values.push_back(value_of(*e.parts[i]));
    for (const auto& [name, part] : e.named) made.named.emplace_back(name, value_of(*part));
    return made;
  }

  Value test(const Expression& e) {
    // A function is defined although it is no value.
    const Expression& subject = *e.parts[0];
    const bool is_function = subject.kind == Expression::Kind::name &&
                             (has_function(subject.text) || macros_.contains(subject.text));
    if (is_function && e.text == "defined") return true;
    return apply_test(value_of(subject), e.text, arguments_of(e));
  }

  Value call(const Expression& e) {
    const Expression& callee = *e.parts[0];
    if (callee.kind == Expression::Kind::member) {
      return call_method(value_of(*callee.parts[0]), callee.text, arguments_of(e));
    }
    if (!has_function(callee.text)) {
      throw Error(fmt::format("the function '{}' is not supported", callee.text));
    }
    return call_function(callee.text, arguments_of(e));
  }

  Value subscript(const Value& object, const Value& key) {
    if (key.is<std::string>()) return member(object, key.text());
    const List items = object.is<std::string>() ? items_of(object) : object.list();
    const int64_t size = int64_t(items.size()), at = key.integer() < 0 ? key.integer() + size : key.integer();
    if (at < 0 || at >= size) return Undefined{fmt::format("item {}", key.integer())};
    return items[size_t(at)];
  }

  Value binary(const Expression& e) {
    const std::string& op = e.text;
    Value a = value_of(*e.parts[0]);
    if (op == "and") return truthy(a) ? value_of(*e.parts[1]) : a;
    if (op == "or") return truthy(a) ? a : value_of(*e.parts[1]);
    const Value b = value_of(*e.parts[1]);
    if (op == "==") return equal(a, b);
    if (op == "!=") return !equal(a, b);
    if (op == "<") return less(a, b);
    if (op == ">") return less(b, a);
    if (op == "<=") return !less(b, a);
    if (op == ">=") return !less(a, b);
    if (op == "in") return contains(b, a);
    if (op == "not in") return !contains(b, a);
    if (op == "~") return printed(a) + printed(b);
    if (op == "+" && a.is<std::string>()) return a.text() + b.text();
    if (op == "+" && a.is_list()) {
      List both = a.list();
      both.insert(both.end(), b.list().begin(), b.list().end());
      return make_list(std::move(both));
    }
    return arithmetic(op, a.integer(), b.integer());
  }

  // Whole numbers, with Python's rounding towards minus infinity. They stay small: counts and indices.
  static Value arithmetic(const std::string& op, int64_t a, int64_t b) {
    constexpr int64_t kLimit = int64_t(1) << 31;
    if (std::abs(a) > kLimit || std::abs(b) > kLimit) throw Error("a number above 2^31");
    if (op == "+") return a + b;
    if (op == "-") return a - b;
    if (op == "*") return a * b;
    if (b == 0) throw Error("a division by zero");
    const int64_t quotient = a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
    if (op == "//") return quotient;
    if (op == "%") return a - quotient * b;
    throw Error(fmt::format("'{}' is not supported", op));
  }

  std::vector<std::map<std::string, Value>> scopes_;
  std::set<std::string> macros_;
  std::vector<Value> spaces_;  // every namespace made, so that no address is used twice
  std::set<const Dict*> namespaces_;
  int64_t steps_ = 0, max_steps_;
};

}  // namespace

std::string render(const Body& body, const Dict& globals, int64_t max_steps) {
  return Evaluator(globals, max_steps).run(body);
}

}  // namespace edgeq::jinja
