// SPDX-License-Identifier: Apache-2.0
// Multiple-choice tasks, scored as lm-evaluation-harness scores them: of each choice the log-probability of
// its text after the context is summed over its tokens, and the highest is the model's answer;
//   accuracy       by the sum itself (`acc` there),
//   accuracy_norm  by the sum over the characters of the choice as it stands in the file (`acc_norm` there).
// A tie goes to the first. A task is a file of JSON lines, an item a line, in one of two forms:
//   {"query": text, "choices": [text, text, ...], "gold": index}
//   {"context_options": [text, text, ...], "continuation": text, "gold": index}   the contexts are chosen
//   among
// Between context and continuation stands a delimiter, unless the one ends or the other begins with white
// space. Tokens: white space at the end of a context belongs to the continuation; context and whole are
// encoded, and the continuation is what the whole has beyond as many tokens as the context has. BOS goes
// first where the model expects it, and in front of an empty context.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/progress.h"
#include "models/language_model.h"
#include "models/tokenizer.h"

namespace edgeq {

struct TaskChoice {
  std::vector<TokenId> context, continuation;  // neither is empty
  int64_t characters = 0;                      // of the continuation, without the delimiter
};

struct TaskItem {
  int64_t line = 0;  // in the file, from 1
  std::vector<TaskChoice> choices;
  int64_t gold = 0;
};

struct Task {
  std::string file, name, hash;  // path as given; file name without ending; content hash of the whole file
  std::vector<TaskItem> items;
};

struct TaskOptions {
  int64_t limit = 0;  // items from the start of a file, 0: all
  std::string delimiter = " ";
};

// Throws Error "<file>:<line>: ..." for a line that is no item, or that a model with `context` positions has
// no room for; and for a file without items. Lines beyond the limit are not read.
Task read_task(const std::string& file, const Tokenizer& tokenizer, int64_t context,
               const TaskOptions& options);
std::vector<Task> read_tasks(std::span<const std::string> files, const Tokenizer& tokenizer, int64_t context,
                             const TaskOptions& options);

// What a model made of a task. Standard errors are those of a mean over items, sqrt(variance / (n - 1)).
struct TaskScore {
  std::string name, hash;
  std::vector<std::vector<double>> log_probabilities;  // of each item's choices
  std::vector<bool> right, right_norm;                 // of each item
  double accuracy = 0, standard_error = 0;
  double accuracy_norm = 0, standard_error_norm = 0;
};

// Throws Error when the logits are not finite, naming the line.
TaskScore score_task(const LanguageModel& model, const Task& task, const Progress& progress);

// The score less another's on the same items: its standard error is of the paired differences, far smaller
// than that of either. Error: different tasks.
struct TaskDifference {
  double accuracy = 0, standard_error = 0;
  double accuracy_norm = 0, standard_error_norm = 0;
};
TaskDifference task_difference(const TaskScore& score, const TaskScore& reference);

}  // namespace edgeq
