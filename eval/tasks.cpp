// SPDX-License-Identifier: Apache-2.0
#include "eval/tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "eval/likelihood.h"
#include "eval/statistics.h"
#include "formats/mapped_file.h"
#include "models/corpus.h"

namespace edgeq {
namespace {

constexpr std::string_view kSpace = " \t\r\n\f\v";

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (uint8_t(c) & 0xc0) != 0x80; });
}

std::vector<TokenId> encode_text(std::string_view text, const Tokenizer& tokenizer) {
  std::vector<TokenId> tokens = tokenizer.encode(text, SpecialTokens::plain);
  if (tokenizer.adds_bos() && tokenizer.bos()) tokens.insert(tokens.begin(), *tokenizer.bos());
  return tokens;
}

TokenId empty_context(const Tokenizer& tokenizer) {
  if (const auto token = opening_token(tokenizer)) return *token;
  throw Error("the context is empty and this model has no token to begin with");
}

TaskChoice encode_choice(std::string context, std::string continuation, const Tokenizer& tokenizer,
                         const std::string& delimiter) {
  TaskChoice choice{.context = {}, .continuation = {}, .characters = count_characters(continuation)};
  const bool apart = context.empty() || kSpace.find(context.back()) != std::string_view::npos ||
                     kSpace.find(continuation.front()) != std::string_view::npos;
  if (!apart) continuation = delimiter + continuation;
  const size_t kept = context.find_last_not_of(kSpace) + 1;
  continuation = context.substr(kept) + continuation;
  context.resize(kept);
  std::vector<TokenId> whole = encode_text(context + continuation, tokenizer);
  choice.context = encode_text(context, tokenizer);
  if (choice.context.empty()) {
    choice.context = {empty_context(tokenizer)};
    whole.insert(whole.begin(), choice.context.front());
  }
  const size_t begin = choice.context.size();
  if (whole.size() <= begin)
    throw Error("a continuation adds no token to its context; expected text that does");
  choice.continuation.assign(whole.begin() + int64_t(begin), whole.end());
  return choice;
}

using nlohmann::json;

const json& field(const json& item, const char* name, json::value_t type, const char* expected) {
  const auto found = item.find(name);
  if (found == item.end()) throw Error(fmt::format("no field \"{}\"; expected {}", name, expected));
  if (found->type() != type) throw Error(fmt::format("field \"{}\" is not {}", name, expected));
  return *found;
}

std::string text_field(const json& item, const char* name) {
  return field(item, name, json::value_t::string, "a text").get<std::string>();
}

std::vector<std::string> text_list(const json& item, const char* name) {
  std::vector<std::string> texts;
  for (const json& text : field(item, name, json::value_t::array, "a list of texts")) {
    if (!text.is_string()) throw Error(fmt::format("field \"{}\" is not a list of texts", name));
    texts.push_back(text.get<std::string>());
  }
  if (texts.size() < 2)
    throw Error(fmt::format("field \"{}\" has {} entries; expected at least 2", name, texts.size()));
  return texts;
}

int64_t gold_of(const json& item, size_t choices) {
  const auto found = item.find("gold");
  if (found == item.end()) throw Error("no field \"gold\"; expected the index of the right choice");
  if (!found->is_number_integer() || found->get<double>() < 0 || found->get<double>() >= double(choices))
    throw Error(
        fmt::format("gold is {}; expected 0 to {}", found->dump(-1, ' ', true).substr(0, 40), choices - 1));
  return found->get<int64_t>();
}

TaskItem read_item(std::string_view line, const Tokenizer& tokenizer, const std::string& delimiter) {
  const json item = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!item.is_object())
    throw Error("not a JSON object; expected {\"query\": text, \"choices\": [text, ...], \"gold\": index}");
  TaskItem result;
  const auto add = [&](const std::string& context, const std::string& continuation) {
    if (continuation.empty()) throw Error("a choice is empty; expected text");
    result.choices.push_back(encode_choice(context, continuation, tokenizer, delimiter));
  };
  if (item.contains("context_options")) {
    const std::string continuation = text_field(item, "continuation");
    for (const std::string& context : text_list(item, "context_options")) add(context, continuation);
  } else {
    const std::string query = text_field(item, "query");
    for (const std::string& choice : text_list(item, "choices")) add(query, choice);
  }
  result.gold = gold_of(item, result.choices.size());
  return result;
}

// Tokens that are fed for a choice: its last one is only predicted.
int64_t fed_tokens(const TaskChoice& choice) {
  return int64_t(choice.context.size() + choice.continuation.size()) - 1;
}

int64_t longest(const TaskItem& item) {
  int64_t most = 0;
  for (const TaskChoice& choice : item.choices) most = std::max(most, fed_tokens(choice));
  return most;
}

// The sums of log-probabilities of an item's choices. What a choice shares with the one before is not fed
// again.
std::vector<double> log_probabilities(const LanguageModel& model, const TaskItem& item) {
  const auto session = model.start({.max_tokens = longest(item)});
  std::vector<double> sums;
  std::span<const TokenId> fed;  // context that the session holds, at least
  for (const TaskChoice& choice : item.choices) {
    const std::span<const TokenId> context(choice.context);
    const auto same =
        std::mismatch(fed.begin(), fed.end(), context.begin(), context.end()).first - fed.begin();
    const auto kept = size_t(std::min<int64_t>(same, std::ssize(context) - 1));
    session->truncate(int64_t(kept));
    session->feed(context.subspan(kept, context.size() - 1 - kept), Logits::none);
    std::vector<TokenId> tokens(1, context.back());
    tokens.insert(tokens.end(), choice.continuation.begin(), choice.continuation.end() - 1);
    const MatrixView<const float> logits = session->feed(tokens, Logits::all);
    double sum = 0;
    for (int64_t i = 0; i < logits.rows; ++i)
      sum -= negative_log_likelihood({logits.row(i), size_t(logits.cols)}, choice.continuation[size_t(i)]);
    if (!std::isfinite(sum)) throw Error("the model's logits are not finite");
    sums.push_back(sum);
    fed = context;
  }
  return sums;
}

int64_t best(const std::vector<double>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

struct MeanOf {
  double mean = 0, standard_error = 0;
};

MeanOf mean_of(const std::vector<double>& values) { return {mean(values), standard_error(values)}; }

MeanOf mean_of(const std::vector<bool>& right) {
  return mean_of(std::vector<double>(right.begin(), right.end()));
}

MeanOf difference(const std::vector<bool>& a, const std::vector<bool>& b) {
  std::vector<double> values;
  for (size_t i = 0; i < a.size(); ++i) values.push_back(double(a[i]) - double(b[i]));
  return mean_of(values);
}

}  // namespace

Task read_task(const std::string& file, const Tokenizer& tokenizer, int64_t context,
               const TaskOptions& options) {
  const auto mapped = MappedFile::open(file);
  const std::string_view text = mapped->text();
  Task task{.file = file,
            .name = std::filesystem::path(file).stem().string(),
            .hash = content_hash(text),
            .items = {}};
  int64_t number = 0;
  for (const std::string_view line : split(text, '\n')) {
    ++number;
    if (line.find_first_not_of(kSpace) == std::string_view::npos) continue;
    if (options.limit != 0 && std::ssize(task.items) == options.limit) break;
    check_interrupt();
    with_context(fmt::format("{}:{}", file, number), [&] {
      TaskItem item = read_item(line, tokenizer, options.delimiter);
      item.line = number;
      if (longest(item) > context)
        throw Error(
            fmt::format("an item of {} tokens; the model's context is {}", longest(item) + 1, context));
      task.items.push_back(std::move(item));
    });
  }
  if (task.items.empty()) throw Error(fmt::format("{}: no items in it; expected JSON lines", file));
  return task;
}

std::vector<Task> read_tasks(std::span<const std::string> files, const Tokenizer& tokenizer, int64_t context,
                             const TaskOptions& options) {
  std::vector<Task> tasks;
  for (const std::string& file : files) tasks.push_back(read_task(file, tokenizer, context, options));
  return tasks;
}

TaskScore score_task(const LanguageModel& model, const Task& task, const Progress& progress) {
  TaskScore score{.name = task.name, .hash = task.hash};
  for (const TaskItem& item : task.items) {
    std::vector<double> values = with_context(fmt::format("{}:{}", task.file, item.line),
                                              [&] { return log_probabilities(model, item); });
    score.log_probabilities.push_back(values);
    score.right.push_back(best(values) == item.gold);
    for (size_t i = 0; i < values.size(); ++i) values[i] /= double(item.choices[i].characters);
    score.right_norm.push_back(best(values) == item.gold);
    report_progress(progress, task.name, std::ssize(score.right), std::ssize(task.items));
  }
  const MeanOf plain = mean_of(score.right), normed = mean_of(score.right_norm);
  score.accuracy = plain.mean;
  score.standard_error = plain.standard_error;
  score.accuracy_norm = normed.mean;
  score.standard_error_norm = normed.standard_error;
  return score;
}

TaskDifference task_difference(const TaskScore& score, const TaskScore& reference) {
  if (score.hash != reference.hash || score.right.size() != reference.right.size())
    throw Error(fmt::format("{} items of task {} against {} of {}; expected the same items",
                            score.right.size(), score.name, reference.right.size(), reference.name));
  const MeanOf plain = difference(score.right, reference.right),
               normed = difference(score.right_norm, reference.right_norm);
  return {plain.mean, plain.standard_error, normed.mean, normed.standard_error};
}

}  // namespace edgeq
