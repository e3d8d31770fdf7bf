// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_normalize.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "models/tokenizer_text.h"

namespace edgeq {
namespace {

std::string nfc(std::string_view text) {
  // Below U+0300 (bytes under 0xCC) nothing composes and nothing changes.
  if (std::all_of(text.begin(), text.end(), [](char c) { return uint8_t(c) < 0xCC; }))
    return std::string(text);
  utf8proc_uint8_t* out = nullptr;
  const auto options = utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             utf8proc_ssize_t(text.size()), &out, options);
  if (size < 0) throw Error(fmt::format("unicode normalization: {}", utf8proc_errmsg(size)));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, &std::free);
  return {reinterpret_cast<const char*>(out), size_t(size)};
}

std::string replace_matches(const Pattern& pattern, std::string_view text, std::string_view content) {
  std::string out;
  size_t done = 0;
  for (const TextRange& match : pattern.find_all(text)) {
    out.append(text.substr(done, match.begin - done)).append(content);
    done = match.end;
  }
  return out.append(text.substr(done));
}

}  // namespace

CharsMap::CharsMap(std::string_view blob) {
  uint32_t trie_bytes = 0;
  if (blob.size() < sizeof trie_bytes) throw Error("charsmap: shorter than its header");
  std::memcpy(&trie_bytes, blob.data(), sizeof trie_bytes);
  blob.remove_prefix(sizeof trie_bytes);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > blob.size()) {
    throw Error(fmt::format("charsmap: a trie of {} bytes where {} follow", trie_bytes, blob.size()));
  }
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), blob.data(), trie_bytes);
  replacements_ = blob.substr(trie_bytes);
  if (replacements_.empty() || replacements_.back() != '\0')
    throw Error("charsmap: an unfinished replacement");
}

// Darts-clone units: label in the low byte (bit 31 set for a value), bit 8 says that a value follows, the
// rest is the exclusive-or offset of the children, shifted by 8 more bits when bit 9 is set.
CharsMap::Replacement CharsMap::find(std::string_view text) const {
  const auto offset_of = [](uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  Replacement best;
  size_t node = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const uint8_t byte = uint8_t(text[i]);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || (units_[node] & (1u << 31 | 0xFF)) != byte) break;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if ((unit & 1u << 8) == 0) continue;
    if (node >= units_.size()) break;
    const size_t value = units_[node] & ~(1u << 31);
    if (value >= replacements_.size()) throw Error("charsmap: a replacement outside the table");
    best = {std::string_view(replacements_.c_str() + value), i + 1};
  }
  return best;
}

Normalizer::Normalizer(const std::vector<NormalizeStep>& steps, const AddedTokens& kept) : kept_(kept) {
  for (const NormalizeStep& step : steps) {
    Step& made = steps_.emplace_back();
    made.data = step;
    if (step.pattern.is_regex) made.pattern.emplace(step.pattern.text);
    if (!step.charsmap.empty()) made.charsmap.emplace(step.charsmap);
  }
}

std::string Normalizer::run(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    const NormalizeStep& data = step.data;
    switch (data.kind) {
      case NormalizeStep::Kind::nfc: out = nfc(out); break;
      case NormalizeStep::Kind::prepend:
        if (!out.empty()) out.insert(0, data.content);
        break;
      case NormalizeStep::Kind::replace:
        out = step.pattern ? replace_matches(*step.pattern, out, data.content)
                           : replace_all(out, data.pattern.text, data.content);
        break;
      case NormalizeStep::Kind::sentencepiece: out = sentencepiece(step, out); break;
    }
  }
  return out;
}

// Character by character as SentencePiece does it, so that spaces that the map makes are seen as spaces.
std::string Normalizer::sentencepiece(const Step& step, std::string_view text) const {
  const NormalizeStep& rules = step.data;
  const std::string_view space = rules.escape_whitespaces ? kMetaSpace : " ";
  const auto next = [&](std::string_view rest) -> CharsMap::Replacement {
    if (const size_t kept = kept_.longest_prefix(rest)) return {rest.substr(0, kept), kept};
    if (step.charsmap) {
      if (const auto found = step.charsmap->find(rest); found.length > 0) return found;
    }
    const size_t length = first_char(rest).length;
    return {rest.substr(0, length), length};
  };

  if (rules.remove_extra_whitespaces) {
    while (!text.empty()) {
      const auto [piece, length] = next(text);
      if (piece != " ") break;
      text.remove_prefix(length);
    }
  }
  std::string out;
  if (text.empty()) return out;
  if (rules.add_dummy_prefix) out += space;
  bool after_space = rules.remove_extra_whitespaces;
  while (!text.empty()) {
    auto [piece, length] = next(text);
    text.remove_prefix(length);
    while (after_space && piece.starts_with(' ')) piece.remove_prefix(1);
    if (piece.empty()) continue;
    for (const char c : piece) c == ' ' ? out.append(space) : out.append(1, c);
    after_space = rules.remove_extra_whitespaces && piece.ends_with(' ');
  }
  while (rules.remove_extra_whitespaces && out.ends_with(space)) out.resize(out.size() - space.size());
  return out;
}

}  // namespace edgeq
