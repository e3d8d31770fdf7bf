// SPDX-License-Identifier: Apache-2.0
#include "models/corpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "formats/mapped_file.h"

namespace edgeq {
namespace {

// A line's text: a JSON string, or the string values of an object in their order.
std::string text_of_line(std::string_view line, size_t number) {
  const auto value = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object()) {
    throw Error(
        fmt::format("line {}: expected a JSON object or string, found '{}'", number, line.substr(0, 40)));
  }
  std::string text;
  for (const auto& part : value) {
    if (!part.is_string()) continue;
    if (!text.empty()) text += "\n\n";
    text += part.get_ref<const std::string&>();
  }
  return text;
}

std::vector<std::string> documents_of(std::string_view lines) {
  std::vector<std::string> documents;
  size_t number = 0;
  for (const std::string_view line : split(lines, '\n')) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    std::string text = text_of_line(line, number);
    if (!text.empty()) documents.push_back(std::move(text));
  }
  return documents;
}

Corpus require_text(Corpus corpus) {
  if (corpus.tokens.empty())
    throw Error("no text in it; expected UTF-8 text, or JSON lines with string values");
  return corpus;
}

}  // namespace

Corpus corpus_of_json_lines(const std::string& name, std::string_view lines, const Tokenizer& tokenizer) {
  Corpus corpus{.name = name, .hash = {}, .tokens = {}, .documents = {}};
  std::vector<std::string> documents = documents_of(lines);
  Hasher hasher;
  for (size_t i = 0; i < documents.size(); ++i) {
    if (i + 1 < documents.size()) documents[i] += "\n\n";
    hasher.add(documents[i]);
    corpus.documents.push_back(std::ssize(corpus.tokens));
    const auto tokens = tokenizer.encode(documents[i], SpecialTokens::plain);
    corpus.tokens.insert(corpus.tokens.end(), tokens.begin(), tokens.end());
  }
  corpus.hash = hasher.digest();
  return require_text(std::move(corpus));
}

Corpus read_corpus(const std::string& path, const Tokenizer& tokenizer) {
  const auto file = MappedFile::open(path);
  return with_context(path, [&] {
    const std::filesystem::path name(path);
    const std::string_view text = file->text();
    if (name.extension() == ".jsonl") return corpus_of_json_lines(name.filename().string(), text, tokenizer);
    return require_text({.name = name.filename().string(),
                         .hash = content_hash(text),
                         .tokens = tokenizer.encode(text, SpecialTokens::plain),
                         .documents = {0}});
  });
}

std::optional<TokenId> opening_token(const Tokenizer& tokenizer) {
  if (tokenizer.bos() || tokenizer.end_tokens().empty()) return tokenizer.bos();
  return tokenizer.end_tokens().front();
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

Windows cut_input_windows(const Corpus& corpus, const Tokenizer& tokenizer, int64_t length, int64_t count) {
  if (!tokenizer.adds_bos() || !tokenizer.bos() || length < 2) return cut_windows(corpus, length, count);
  Corpus input{.name = corpus.name, .hash = corpus.hash, .tokens = {}, .documents = {}};
  size_t document = 0;
  for (int64_t i = 0; i < std::ssize(corpus.tokens); ++i) {
    if (document < corpus.documents.size() && corpus.documents[document] == i) {
      ++document;
      input.tokens.push_back(*tokenizer.bos());
    }
    const bool window_begins = std::ssize(input.tokens) % length == 0;
    if (window_begins) input.tokens.push_back(*tokenizer.bos());
    input.tokens.push_back(corpus.tokens[size_t(i)]);
  }
  return cut_windows(input, length, count);
}

double shared_share(const Windows& text, const Windows& other) {
  if (text.length < kSharedRun || other.length < kSharedRun || text.count() == 0) return 0;
  const auto run = [](std::span<const TokenId> window, int64_t at) {
    const auto tokens = window.subspan(size_t(at), size_t(kSharedRun));
    return std::string_view(reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes());
  };
  std::unordered_set<std::string_view> runs;
  for (int64_t w = 0; w < other.count(); ++w)
    for (int64_t i = 0; i + kSharedRun <= other.length; ++i) runs.insert(run(other[w], i));
  int64_t shared = 0;
  for (int64_t w = 0; w < text.count(); ++w) {
    int64_t end = 0;  // tokens before it are counted
    for (int64_t i = 0; i + kSharedRun <= text.length; ++i) {
      if (!runs.contains(run(text[w], i))) continue;
      shared += i + kSharedRun - std::max(end, i);
      end = i + kSharedRun;
    }
  }
  return double(shared) / double(text.count() * text.length);
}

}  // namespace edgeq
