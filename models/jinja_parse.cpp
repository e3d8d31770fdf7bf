// SPDX-License-Identifier: Apache-2.0
#include "models/jinja_parse.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <initializer_list>

#include "core/error.h"
#include "models/jinja_lex.h"

namespace edgeq::jinja {
namespace {

constexpr int kMaxDepth =
    100;  // of nested expressions and blocks: a hostile template must not exhaust the stack

class Parser {
 public:
  explicit Parser(std::string_view source) : words_(lex(source)) {}

  Body run() {
    Body body = statements({});
    if (now().kind != Word::Kind::end) refuse(fmt::format("'{}' without its opening", now().text));
    return body;
  }

 private:
  using Kind = Expression::Kind;
  using Names = std::initializer_list<std::string_view>;

  struct Deeper {
    explicit Deeper(Parser& parser) : parser(parser) {
      if (++parser.depth_ > kMaxDepth) parser.refuse(fmt::format("nested more than {} deep", kMaxDepth));
    }
    ~Deeper() { --parser.depth_; }
    Parser& parser;
  };

  const Word& now() const { return words_[at_]; }
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(fmt::format("line {}: {}", now().line, what));
  }
  bool is_sign(std::string_view text) const { return now().kind == Word::Kind::sign && now().text == text; }
  bool is_name(std::string_view text) const { return now().kind == Word::Kind::name && now().text == text; }
  bool accept_sign(std::string_view text) { return is_sign(text) && ++at_; }
  bool accept_name(std::string_view text) { return is_name(text) && ++at_; }
  void expect_sign(std::string_view text) {
    if (!accept_sign(text)) refuse(fmt::format("expected '{}', found '{}'", text, now().text));
  }
  void expect_name(std::string_view text) {
    if (!accept_name(text)) refuse(fmt::format("expected '{}', found '{}'", text, now().text));
  }
  std::string expect_any_name() {
    if (now().kind != Word::Kind::name) refuse(fmt::format("expected a name, found '{}'", now().text));
    return words_[at_++].text;
  }
  void expect_close() {
    if (now().kind != Word::Kind::close) refuse(fmt::format("'{}' was not expected here", now().text));
    ++at_;
  }

  // Up to the end of the template or a block word of `ends`, which is left in front, after "{%".
  Body statements(Names ends) {
    const Deeper deeper(*this);
    Body body;
    while (true) {
      switch (now().kind) {
        case Word::Kind::text: body.emplace_back().text = words_[at_++].text; break;
        case Word::Kind::open_output: {
          ++at_;
          Statement& output = body.emplace_back();
          output.kind = Statement::Kind::output;
          output.expression = expression();
          expect_close();
          break;
        }
        case Word::Kind::open_block: {
          ++at_;
          for (const std::string_view end : ends) {
            if (is_name(end)) return body;
          }
          block(body);
          break;
        }
        default: return body;
      }
    }
  }

  Body block_body(std::string_view end) {
    expect_close();
    Body body = statements({end});
    expect_name(end);
    expect_close();
    return body;
  }

  void block(Body& body) {
    const std::string word = expect_any_name();
    if (word == "if") return body.push_back(branch());
    if (word == "for") return body.push_back(loop());
    if (word == "set") return body.push_back(assign());
    if (word == "macro") return body.push_back(macro());
    if (word == "generation") {  // marks the assistant's text for training; prints what it holds
      for (Statement& inner : block_body("endgeneration")) body.push_back(std::move(inner));
      return;
    }
    if (word == "break" || word == "continue") {
      body.emplace_back().kind = word == "break" ? Statement::Kind::leave : Statement::Kind::again;
      return expect_close();
    }
    refuse(fmt::format("'{}' is not supported", word));
  }

  Statement branch() {
    Statement made;
    made.kind = Statement::Kind::branch;
    made.condition = expression();
    expect_close();
    made.body = statements({"elif", "else", "endif"});
    const Deeper deeper(*this);
    if (accept_name("elif")) {
      made.otherwise.push_back(branch());
      return made;
    }
    if (accept_name("else")) {
      expect_close();
      made.otherwise = statements({"endif"});
    }
    expect_name("endif");
    expect_close();
    return made;
  }

  Statement loop() {
    Statement made;
    made.kind = Statement::Kind::loop;
    do made.names.push_back(expect_any_name());
    while (accept_sign(","));
    expect_name("in");
    made.expression = choice();
    if (accept_name("if")) made.condition = expression();
    expect_close();
    made.body = statements({"else", "endfor"});
    if (accept_name("else")) {
      expect_close();
      made.otherwise = statements({"endfor"});
    }
    expect_name("endfor");
    expect_close();
    return made;
  }

  Statement assign() {
    Statement made;
    made.kind = Statement::Kind::assign;
    made.names.push_back(expect_any_name());
    if (accept_sign(".")) {
      made.attribute = expect_any_name();
    } else {
      while (accept_sign(",")) made.names.push_back(expect_any_name());
    }
    if (accept_sign("=")) {
      made.expression = expression();
      expect_close();
    } else {
      made.body = block_body("endset");
    }
    return made;
  }

  // Macros render tools and attachments. Their bodies are skipped: calling one is the error, not having it.
  Statement macro() {
    Statement made;
    made.kind = Statement::Kind::macro;
    made.names.push_back(expect_any_name());
    while (now().kind != Word::Kind::close && now().kind != Word::Kind::end) ++at_;
    block_body("endmacro");
    return made;
  }

  static ExpressionPtr make(Kind kind, std::string text = {}) {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->text = std::move(text);
    return made;
  }
  template <class... Parts>
  static ExpressionPtr make_of(Kind kind, std::string text, Parts... parts) {
    ExpressionPtr made = make(kind, std::move(text));
    (made->parts.push_back(std::move(parts)), ...);
    return made;
  }
  static ExpressionPtr literal(Value value) {
    ExpressionPtr made = make(Kind::literal);
    made->value = std::move(value);
    return made;
  }

  ExpressionPtr expression() {
    const Deeper deeper(*this);
    ExpressionPtr made = choice();
    while (accept_name("if")) {
      ExpressionPtr condition = choice();
      ExpressionPtr otherwise = accept_name("else") ? expression() : literal(Undefined{"else"});
      made = make_of(Kind::conditional, "", std::move(made), std::move(condition), std::move(otherwise));
    }
    return made;
  }

  ExpressionPtr choice() {  // or
    ExpressionPtr made = both();
    while (accept_name("or")) made = make_of(Kind::binary, "or", std::move(made), both());
    return made;
  }

  ExpressionPtr both() {  // and
    ExpressionPtr made = negation();
    while (accept_name("and")) made = make_of(Kind::binary, "and", std::move(made), negation());
    return made;
  }

  ExpressionPtr negation() {
    const Deeper deeper(*this);
    if (accept_name("not")) return make_of(Kind::unary, "not", negation());
    return comparison();
  }

  ExpressionPtr comparison() {
    ExpressionPtr made = sum();
    bool compared = false;
    while (true) {
      std::string op;
      for (const std::string_view sign : {"==", "!=", "<=", ">=", "<", ">"}) {
        if (accept_sign(sign)) {
          op = sign;
          break;
        }
      }
      if (op.empty() && accept_name("in")) op = "in";
      if (op.empty() && is_name("not") && words_[at_ + 1].text == "in") {
        at_ += 2;
        op = "not in";
      }
      if (op.empty()) return made;
      if (compared) refuse("a chain of comparisons is not supported");
      compared = true;
      made = make_of(Kind::binary, op, std::move(made), sum());
    }
  }

  ExpressionPtr left_to_right(Names signs, ExpressionPtr (Parser::*next)()) {
    ExpressionPtr made = (this->*next)();
    while (now().kind == Word::Kind::sign) {
      const std::string sign = now().text;
      bool known = false;
      for (const std::string_view candidate : signs) known = known || candidate == sign;
      if (!known) break;
      ++at_;
      made = make_of(Kind::binary, sign, std::move(made), (this->*next)());
    }
    return made;
  }

  ExpressionPtr sum() { return left_to_right({"+", "-"}, &Parser::concatenation); }
  ExpressionPtr concatenation() { return left_to_right({"~"}, &Parser::product); }
  ExpressionPtr product() { return left_to_right({"*", "/", "//", "%"}, &Parser::signed_value); }

  ExpressionPtr signed_value() {
    const Deeper deeper(*this);
    if (accept_sign("-")) return make_of(Kind::unary, "-", signed_value());
    return suffixes(primary());
  }

  ExpressionPtr primary() {
    const Word word = now();
    switch (word.kind) {
      case Word::Kind::string: return strings();
      case Word::Kind::integer:
      case Word::Kind::real: ++at_; return number(word);
      case Word::Kind::name: ++at_; return name_or_constant(word.text);
      default: break;
    }
    if (accept_sign("(")) {
      ExpressionPtr made = expression();
      if (is_sign(",")) refuse("a tuple is not supported");
      expect_sign(")");
      return made;
    }
    if (accept_sign("[")) {
      ExpressionPtr made = make(Kind::list);
      while (!accept_sign("]")) {
        made->parts.push_back(expression());
        if (!accept_sign(",") && !is_sign("]")) refuse("expected ',' or ']'");
      }
      return made;
    }
    if (accept_sign("{")) return dict();
    refuse(fmt::format("expected an expression, found '{}'", word.text));
  }

  ExpressionPtr strings() {  // neighbours join, as in Python
    std::string text;
    while (now().kind == Word::Kind::string) text += words_[at_++].text;
    return literal(Value(std::move(text)));
  }

  ExpressionPtr number(const Word& word) {
    const char *first = word.text.data(), *last = first + word.text.size();
    if (word.kind == Word::Kind::integer) {
      int64_t value = 0;
      std::from_chars(first, last, value);
      return literal(value);
    }
    double value = 0;
    std::from_chars(first, last, value);
    return literal(value);
  }

  ExpressionPtr name_or_constant(const std::string& name) {
    if (name == "true" || name == "True") return literal(true);
    if (name == "false" || name == "False") return literal(false);
    if (name == "none" || name == "None") return literal(None{});
    return make(Kind::name, name);
  }

  ExpressionPtr dict() {
    ExpressionPtr made = make(Kind::dict);
    while (!accept_sign("}")) {
      made->parts.push_back(expression());
      expect_sign(":");
      made->parts.push_back(expression());
      if (!accept_sign(",") && !is_sign("}")) refuse("expected ',' or '}'");
    }
    return made;
  }

  ExpressionPtr suffixes(ExpressionPtr made) {
    while (true) {
      if (accept_sign(".")) {
        made = make_of(Kind::member, expect_any_name(), std::move(made));
      } else if (accept_sign("[")) {
        made = subscript(std::move(made));
      } else if (is_sign("(")) {
        if (made->kind != Kind::name && made->kind != Kind::member) refuse("only names can be called");
        made = make_of(Kind::call, "", std::move(made));
        arguments(*made);
      } else if (accept_sign("|")) {
        made = make_of(Kind::filter, expect_any_name(), std::move(made));
        if (is_sign("(")) arguments(*made);
      } else if (accept_name("is")) {
        made = test(std::move(made));
      } else {
        return made;
      }
    }
  }

  ExpressionPtr test(ExpressionPtr subject) {
    const bool negated = accept_name("not");
    ExpressionPtr made = make_of(Kind::test, expect_any_name(), std::move(subject));
    const bool takes_value = now().kind == Word::Kind::string || now().kind == Word::Kind::integer;
    if (is_sign("(")) {
      arguments(*made);
    } else if (takes_value) {
      made->parts.push_back(primary());
    }
    return negated ? make_of(Kind::unary, "not", std::move(made)) : std::move(made);
  }

  ExpressionPtr subscript(ExpressionPtr object) {
    std::array<ExpressionPtr, 3> bounds;
    size_t colons = 0;
    while (!accept_sign("]")) {
      if (accept_sign(":")) {
        if (++colons > 2) refuse("a slice with more than two ':'");
      } else {
        if (bounds[colons]) refuse("expected ']' or ':'");
        bounds[colons] = expression();
      }
    }
    if (colons > 0) {
      return make_of(Kind::slice, "", std::move(object), std::move(bounds[0]), std::move(bounds[1]),
                     std::move(bounds[2]));
    }
    if (!bounds[0]) refuse("an empty subscript");
    return make_of(Kind::subscript, "", std::move(object), std::move(bounds[0]));
  }

  void arguments(Expression& call) {
    expect_sign("(");
    while (!accept_sign(")")) {
      const bool named = now().kind == Word::Kind::name && words_[at_ + 1].kind == Word::Kind::sign &&
                         words_[at_ + 1].text == "=";
      if (named) {
        std::string name = expect_any_name();
        expect_sign("=");
        call.named.emplace_back(std::move(name), expression());
      } else {
        call.parts.push_back(expression());
      }
      if (!accept_sign(",") && !is_sign(")")) refuse("expected ',' or ')'");
    }
  }

  std::vector<Word> words_;
  size_t at_ = 0;  // words_ ends with an `end`, which is never stepped over
  int depth_ = 0;
};

}  // namespace

Body parse(std::string_view source) { return Parser(source).run(); }

}  // namespace edgeq::jinja
