// SPDX-License-Identifier: Apache-2.0
// The regular expressions of pre-tokenizers. They are written in Oniguruma's syntax (what the Python package
// runs); here PCRE2 runs them, with Unicode properties. Constructs that mean something else in PCRE2 are
// rewritten, and those that cannot be are refused: an expression never splits differently without saying so.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace edgeq {

struct TextRange {
  size_t begin = 0, end = 0;
};

class Pattern {
 public:
  // Throws Error naming the expression and what is wrong with it or not supported in it.
  explicit Pattern(std::string_view oniguruma);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  // All matches from left to right, not overlapping; an empty match never directly follows another one.
  // `text` is valid UTF-8. Throws Error when one match takes more than a bounded number of steps.
  std::vector<TextRange> find_all(std::string_view text) const;
  bool matches_at_start(std::string_view text) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace edgeq
