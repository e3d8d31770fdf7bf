// SPDX-License-Identifier: Apache-2.0
// Cuts a template into texts and the words of its tags, with the white space around tags already removed as
// trim_blocks, lstrip_blocks and the "-" signs ask.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace edgeq::jinja {

struct Word {
  enum class Kind : uint8_t {
    text,         // outside tags
    open_output,  // {{
    open_block,   // {%
    close,        // }} or %}
    name,
    string,
    integer,
    real,
    sign,  // operators and brackets
    end,   // of the template
  };
  Kind kind = Kind::end;
  std::string text;
  int line = 1;
};

// Throws Error naming the line of an unfinished tag or a character that belongs to no word.
std::vector<Word> lex(std::string_view source);

}  // namespace edgeq::jinja
