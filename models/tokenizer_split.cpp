// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_split.h"

#include <algorithm>

#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

struct Cut {
  TextRange range;
  bool is_match = false;
};

std::vector<TextRange> find_literal(std::string_view text, std::string_view literal) {
  std::vector<TextRange> found;
  for (size_t at = 0; (at = text.find(literal, at)) != std::string_view::npos; at += literal.size()) {
    found.push_back({at, at + literal.size()});
  }
  return found;
}

// The matches and what lies between them, covering the whole text.
std::vector<Cut> cover(const std::vector<TextRange>& matches, size_t size) {
  std::vector<Cut> cuts;
  size_t done = 0;
  for (const TextRange& match : matches) {
    if (done != match.begin) cuts.push_back({{done, match.begin}, false});
    cuts.push_back({match, true});
    done = match.end;
  }
  if (done != size) cuts.push_back({{done, size}, false});
  return cuts;
}

// Joins a match (the first of several) to the cut before it, in the order given.
template <class Iterator>
std::vector<TextRange> merge_into_previous(Iterator first, Iterator last) {
  std::vector<TextRange> out;
  bool after_match = false;
  for (; first != last; ++first) {
    if (first->is_match && !after_match && !out.empty()) {
      out.back().begin = std::min(out.back().begin, first->range.begin);
      out.back().end = std::max(out.back().end, first->range.end);
    } else {
      out.push_back(first->range);
    }
    after_match = first->is_match;
  }
  return out;
}

std::vector<TextRange> arrange(const std::vector<Cut>& cuts, SplitBehavior behavior) {
  std::vector<TextRange> out;
  switch (behavior) {
    case SplitBehavior::removed:
      for (const Cut& cut : cuts) {
        if (!cut.is_match) out.push_back(cut.range);
      }
      break;
    case SplitBehavior::isolated:
      for (const Cut& cut : cuts) out.push_back(cut.range);
      break;
    case SplitBehavior::contiguous:
      for (size_t i = 0; i < cuts.size(); ++i) {
        if (i > 0 && cuts[i].is_match == cuts[i - 1].is_match) {
          out.back().end = cuts[i].range.end;
        } else {
          out.push_back(cuts[i].range);
        }
      }
      break;
    case SplitBehavior::merged_with_previous: out = merge_into_previous(cuts.begin(), cuts.end()); break;
    case SplitBehavior::merged_with_next:
      out = merge_into_previous(cuts.rbegin(), cuts.rend());
      std::reverse(out.begin(), out.end());
      break;
  }
  return out;
}

void split(TextPieces& pieces, const PreTokenizeStep& step, const std::optional<Pattern>& pattern) {
  std::vector<TextRange> ranges;
  ranges.reserve(pieces.ranges.size());
  for (size_t i = 0; i < pieces.ranges.size(); ++i) {
    const std::string_view text = pieces[i];
    auto cuts = cover(pattern ? pattern->find_all(text) : find_literal(text, step.pattern.text), text.size());
    if (step.invert) {
      for (Cut& cut : cuts) cut.is_match = !cut.is_match;
    }
    const size_t base = pieces.ranges[i].begin;
    for (const TextRange& r : arrange(cuts, step.behavior)) {
      if (r.begin != r.end) ranges.push_back({base + r.begin, base + r.end});
    }
  }
  pieces.ranges = std::move(ranges);
}

// Every piece written anew by `write(piece, index, out)`.
template <class Write>
void rewrite(TextPieces& pieces, Write&& write) {
  TextPieces out;
  out.buffer.reserve(pieces.buffer.size());
  out.ranges.reserve(pieces.ranges.size());
  for (size_t i = 0; i < pieces.ranges.size(); ++i) {
    const size_t begin = out.buffer.size();
    write(pieces[i], i, out.buffer);
    if (out.buffer.size() > begin) out.ranges.push_back({begin, out.buffer.size()});
  }
  pieces = std::move(out);
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<PreTokenizeStep>& steps) {
  for (const PreTokenizeStep& step : steps) {
    Step& made = steps_.emplace_back();
    made.data = step;
    if (step.pattern.is_regex) made.pattern.emplace(step.pattern.text);
  }
}

TextPieces PreTokenizer::run(std::string text, bool starts_text) const {
  TextPieces pieces;
  if (!text.empty()) pieces.ranges.push_back({0, text.size()});
  pieces.buffer = std::move(text);
  for (const Step& step : steps_) {
    const PreTokenizeStep& data = step.data;
    switch (data.kind) {
      case PreTokenizeStep::Kind::split: split(pieces, data, step.pattern); break;
      case PreTokenizeStep::Kind::replace:
        rewrite(pieces, [&](std::string_view piece, size_t, std::string& out) {
          out += replace_all(piece, data.pattern.text, data.content);
        });
        break;
      case PreTokenizeStep::Kind::prepend:
        rewrite(pieces, [&](std::string_view piece, size_t i, std::string& out) {
          const bool wanted = !data.first_only || (starts_text && i == 0);
          if (wanted && !piece.starts_with(data.content)) out += data.content;
          out += piece;
        });
        break;
      case PreTokenizeStep::Kind::alphabet:
        rewrite(pieces, [](std::string_view piece, size_t, std::string& out) {
          for (const char c : piece) out += byte_letter(uint8_t(c));
        });
        break;
    }
  }
  return pieces;
}

}  // namespace edgeq
