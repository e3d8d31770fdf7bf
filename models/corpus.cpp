// SPDX-License-Identifier: Apache-2.0
#include "models/corpus.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "formats/mapped_file.h"

namespace edgeq {
namespace {

// A line's text: a JSON string, or the string values of an object in their order.
void append_line(std::string_view line, size_t number, std::string& text) {
  const auto value = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  const auto append = [&](const nlohmann::ordered_json& part) {
    if (!part.is_string()) return;
    if (!text.empty()) text += "\n\n";
    text += part.get_ref<const std::string&>();
  };
  if (value.is_string()) return append(value);
  if (!value.is_object()) {
    throw Error(
        fmt::format("line {}: expected a JSON object or string, found '{}'", number, line.substr(0, 40)));
  }
  for (const auto& part : value) append(part);
}

std::string join_json_lines(std::string_view lines) {
  std::string text;
  size_t number = 0;
  for (const std::string_view line : split(lines, '\n')) {
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) append_line(line, number, text);
  }
  return text;
}

}  // namespace

Corpus read_corpus(const std::string& path, const Tokenizer& tokenizer) {
  const auto file = MappedFile::open(path);
  return with_context(path, [&] {
    const std::filesystem::path name(path);
    std::string_view text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
    std::string joined;
    if (name.extension() == ".jsonl") text = joined = join_json_lines(text);
    Corpus corpus{name.filename().string(), content_hash(text), tokenizer.encode(text, SpecialTokens::plain)};
    if (corpus.tokens.empty())
      throw Error("no text in it; expected UTF-8 text, or JSON lines with string values");
    return corpus;
  });
}

Windows cut_windows(const Corpus& corpus, int64_t length, int64_t count) {
  if (length < 1) throw Error(fmt::format("windows of {} tokens; expected at least 1", length));
  if (count < 0) throw Error(fmt::format("{} windows; expected 0 (all that fit) or more", count));
  const int64_t tokens = int64_t(corpus.tokens.size()), fit = tokens / length;
  if (fit == 0 || count > fit) {
    const int64_t wanted = std::max<int64_t>(count, 1);
    throw Error(fmt::format("corpus {}: {} tokens, but {} windows of {} tokens need {}", corpus.name, tokens,
                            wanted, length, fmt::to_string(__int128(wanted) * length)))
        .set_hint("give a longer text, fewer windows or a shorter context");
  }
  const int64_t taken = (count == 0 ? fit : count) * length;
  return {length, {corpus.tokens.begin(), corpus.tokens.begin() + taken}};
}

}  // namespace edgeq
