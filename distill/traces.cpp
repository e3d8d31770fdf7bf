// SPDX-License-Identifier: Apache-2.0
#include "distill/traces.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "distill/packing.h"
#include "formats/mapped_file.h"
#include "models/prompt.h"

namespace edgeq {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::string_view kMark = "#### ";

// A text or a number; "" when it is absent or null. Throws Error for anything else.
std::string text_field(const Json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || found->is_null()) return {};
  if (found->is_number()) return found->dump();
  if (!found->is_string()) throw Error(fmt::format("{} is no text", key));
  return found->get<std::string>();
}

// "...\n#### 42" -> "...", "42". Nothing: it has no such line behind others.
std::optional<std::pair<std::string, std::string>> split_answer(std::string_view text) {
  const std::string mark = "\n" + std::string(kMark);
  const size_t at = text.rfind(mark);
  if (at == std::string::npos || at == 0 || at + mark.size() == text.size()) return std::nullopt;
  return std::pair(std::string(text.substr(0, at)), std::string(text.substr(at + mark.size())));
}

Trace parse_line(std::string_view text, TraceFields fields) {
  const auto line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (line.is_discarded()) throw Error("no JSON");
  if (!line.is_object()) throw Error("no JSON object");
  Trace trace{.prompt = text_field(line, line.contains("prompt") ? "prompt" : "question"),
              .trace = text_field(line, "trace"),
              .answer = text_field(line, "answer")};
  if (trace.prompt.empty()) throw Error("no prompt");
  if (trace.trace.empty()) {
    if (auto parts = split_answer(trace.answer)) std::tie(trace.trace, trace.answer) = std::move(*parts);
  }
  if (fields == TraceFields::completion && trace.trace.empty() && trace.answer.empty())
    throw Error("no trace and no answer");
  if (fields == TraceFields::answer && trace.answer.empty()) throw Error("no answer");
  return trace;
}

// A trace as one document.
struct Document {
  std::vector<TokenId> tokens;
  int64_t prompt = 0;  // tokens of it that are not learned
  int64_t group = 0;   // the number of its prompt: held out or learned from with others of it
};

// In the order of the documents, each in the fullest sequence that still has room for it.
std::vector<Sequence> pack(const std::vector<const Document*>& documents, int64_t length) {
  std::vector<Sequence> sequences;
  std::multimap<int64_t, size_t> rooms;
  for (const Document* document : documents) {
    const int64_t tokens = std::ssize(document->tokens);
    auto place = rooms.lower_bound(tokens);
    if (place == rooms.end()) {
      place = rooms.emplace(length, sequences.size());
      sequences.emplace_back();
    }
    const auto [room, at] = *place;
    rooms.erase(place);
    Sequence& sequence = sequences[at];
    sequence.documents.push_back(std::ssize(sequence.tokens));
    sequence.tokens.insert(sequence.tokens.end(), document->tokens.begin(), document->tokens.end());
    sequence.learned.resize(sequence.learned.size() + size_t(document->prompt), 0);
    sequence.learned.resize(sequence.tokens.size(), 1);
    if (room > tokens) rooms.emplace(room - tokens, at);
  }
  return sequences;
}

class TraceReader {
 public:
  TraceReader(const Tokenizer& tokenizer, const DataOptions& options, const TraceForm& form)
      : tokenizer_(tokenizer), options_(options), form_(form) {
    if (form.chat) {
      end_ = turn_end(tokenizer);
    } else if (!tokenizer.end_tokens().empty()) {
      end_ = tokenizer.end_tokens().front();
    }
  }

  void read(const std::string& path) {
    const TraceFields fields = form_.answers_only ? TraceFields::answer : TraceFields::completion;
    const TraceFile file = read_traces(path, fields, form_.broken_limit);
    data_.name += (data_.name.empty() ? "" : ", ") + file.name;
    if (data_.counts.broken == 0 && file.broken > 0)
      data_.counts.first_broken = fmt::format("{}: {}", file.name, file.first_broken);
    data_.counts.broken += file.broken;
    for (const Trace& trace : file.traces) add(trace);
  }

  Dataset dataset() {
    std::vector<const Document*> train, held_out;
    const std::vector<bool> held = held_groups();
    for (const Document& d : documents_) (held[size_t(d.group)] ? held_out : train).push_back(&d);
    data_.train = pack(train, options_.length);
    data_.held_out = pack(held_out, options_.length);
    return std::move(data_);
  }

 private:
  void add(const Trace& trace) {
    ++data_.counts.documents;
    const std::string written = completion(trace, form_.answers_only);
    if (!seen_.insert(content_hash(trace.prompt + '\0' + written)).second) {
      ++data_.counts.duplicates;
      return;
    }
    Document document{.tokens = prompt_tokens(trace.prompt, tokenizer_, form_)};
    document.prompt = std::ssize(document.tokens);
    const std::vector<TokenId> tokens = tokenizer_.encode(written, SpecialTokens::plain);
    document.tokens.insert(document.tokens.end(), tokens.begin(), tokens.end());
    if (end_) document.tokens.push_back(*end_);
    if (std::ssize(document.tokens) > options_.length) {
      ++data_.counts.too_long;
      return;
    }
    document.group = groups_.emplace(content_hash(trace.prompt), std::ssize(groups_)).first->second;
    documents_.push_back(std::move(document));
  }

  // By group: whether it is held out.
  std::vector<bool> held_groups() const {
    std::vector<int64_t> tokens(groups_.size());
    int64_t total = 0;
    for (const Document& d : documents_) {
      tokens[size_t(d.group)] += std::ssize(d.tokens);
      total += std::ssize(d.tokens);
    }
    auto wanted = int64_t(std::llround(options_.held_out * double(total)));
    std::vector<bool> held(groups_.size(), false);
    for (const int64_t g : epoch_order(std::ssize(groups_), options_.seed, kHeldOutEpoch)) {
      if (wanted <= 0) break;
      held[size_t(g)] = true;
      wanted -= tokens[size_t(g)];
    }
    return held;
  }

  const Tokenizer& tokenizer_;
  const DataOptions& options_;
  const TraceForm& form_;
  std::optional<TokenId> end_;
  Dataset data_;
  std::vector<Document> documents_;
  std::unordered_set<std::string> seen_;
  std::unordered_map<std::string, int64_t> groups_;  // of prompts
};

}  // namespace

TraceFile read_traces(const std::string& path, TraceFields fields, double broken_limit) {
  if (!(broken_limit >= 0 && broken_limit <= 1))
    throw Error(fmt::format("a limit of {} on broken lines; expected a share from 0 to 1", broken_limit));
  const auto mapped = MappedFile::open(path);
  return with_context(path, [&] {
    const std::string_view text = mapped->text();
    TraceFile file{.name = std::filesystem::path(path).filename().string()};
    int64_t number = 0;
    for (const std::string_view line : split(text, '\n')) {
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      try {
        file.traces.push_back(parse_line(line, fields));
      } catch (const Error& error) {
        if (file.broken++ == 0) file.first_broken = fmt::format("line {}: {}", number, error.what());
      }
    }
    const int64_t lines = std::ssize(file.traces) + file.broken;
    if (double(file.broken) > broken_limit * double(lines))
      throw Error(fmt::format("{} of {} lines are broken; expected at most {:g} %; {}", file.broken, lines,
                              100 * broken_limit, file.first_broken));
    if (file.traces.empty()) throw Error("no traces in it; expected a JSON object a line, with a prompt");
    return file;
  });
}

std::string trace_line(const Trace& trace) {
  Json line{{"prompt", trace.prompt}};
  if (!trace.trace.empty()) line["trace"] = trace.trace;
  if (!trace.answer.empty()) line["answer"] = trace.answer;
  // What a model writes may end inside a character.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Trace make_trace(std::string prompt, std::string_view written) {
  Trace trace{.prompt = std::move(prompt), .trace = std::string(written), .answer = {}};
  if (auto parts = split_answer(written)) std::tie(trace.trace, trace.answer) = std::move(*parts);
  return trace;
}

std::vector<TokenId> prompt_tokens(const std::string& prompt, const Tokenizer& tokenizer,
                                   const TraceForm& form) {
  if (!form.chat) {
    const bool open = prompt.empty() || std::string_view(" \t\r\n").find(prompt.back()) == std::string::npos;
    return with_bos(tokenizer.encode(open ? prompt + "\n" : prompt, SpecialTokens::plain), tokenizer);
  }
  std::vector<ChatMessage> messages;
  if (!form.system.empty()) messages.push_back({"system", form.system});
  messages.push_back({"user", prompt});
  return chat_tokens(tokenizer, messages);
}

std::string completion(const Trace& trace, bool answers_only) {
  if (trace.answer.empty()) return answers_only ? "" : trace.trace;
  const bool marked = trace.answer.starts_with(kMark);
  if (trace.trace.empty() && !answers_only) return trace.answer;
  return (answers_only ? "" : trace.trace + "\n") + (marked ? "" : std::string(kMark)) + trace.answer;
}

Dataset sequences_of_traces(std::span<const std::string> paths, const Tokenizer& tokenizer,
                            const DataOptions& options, const TraceForm& form) {
  check_options(options);
  if (paths.empty()) throw Error("no traces to learn from; expected at least one file");
  TraceReader reader(tokenizer, options, form);
  for (const std::string& path : paths) reader.read(path);
  Dataset data = reader.dataset();
  check_dataset(data, options);
  return data;
}

}  // namespace edgeq
