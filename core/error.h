// SPDX-License-Identifier: Apache-2.0
// Errors of edgeq. `Error` is for everything that a user or a file can cause: its text names the offender,
// what was found and what was expected, in lower case, without a trailing dot. `Bug` is for our own broken
// promises and is never reachable from input. Libraries throw; only `cli` prints.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace edgeq {

class Error : public std::exception {
 public:
  explicit Error(std::string message) : message_(std::move(message)) {}

  // Puts "context: " in front. Added at exactly three boundaries: file, site, step.
  Error& add_context(std::string_view context);
  // The cure, where it is known; printed on a second line.
  Error& set_hint(std::string hint);

  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& hint() const noexcept { return hint_; }

 private:
  std::string message_, hint_;
};

// The run was interrupted (Ctrl-C): not a failure of the input, but it unwinds like one. Nothing is left
// half-written.
class Interrupted : public Error {
 public:
  Interrupted() : Error("interrupted") {}
};

class Bug : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// Runs `body`; an Error that leaves it gets `context` in front.
template <class Body>
decltype(auto) with_context(std::string_view context, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (Error& error) {
    error.add_context(context);
    throw;
  }
}

[[noreturn]] void throw_bug(const char* file, int line, const char* condition, const char* text);

}  // namespace edgeq

// For what only a mistake of ours can break. `text` says which promise it was.
#define EDGEQ_CHECK(condition, text) \
  ((condition) ? void(0) : ::edgeq::throw_bug(__FILE__, __LINE__, #condition, text))
