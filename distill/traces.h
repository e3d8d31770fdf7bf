// SPDX-License-Identifier: Apache-2.0
// Traces: what a teacher wrote on the way to an answer, one JSON object a line:
//   {"prompt": "...", "trace": "...", "answer": "42"}
// `trace` may be missing, `answer` may be a number; `question` is read as `prompt`. An answer that ends in a
// line "#### 42" after other text (as GSM8K's do) is a trace and an answer. What a model writes, and the loss
// counts, is the trace, "\n#### " and the answer; of a trace without an answer, or an answer without a trace,
// that alone as it is. An end token follows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "distill/sequences.h"

namespace edgeq {

struct Trace {
  std::string prompt, trace, answer;  // the latter "" when there is none
};

enum class TraceFields : uint8_t {
  prompt,      // the rest may be missing: what is to be answered
  completion,  // a trace, an answer or both are required: what is to be learned
  answer,      // an answer is required
};

struct TraceFile {
  std::string name;           // without folder
  std::vector<Trace> traces;  // in the order of the file
  int64_t broken = 0;         // lines that are none, not counted among `traces`; blank lines are not counted
  std::string first_broken;   // "line 12: no prompt"
};

// Throws Error naming the file: unreadable, without a line that is one, more than `broken_limit` (a share of
// its lines) broken, which names the first with its number.
TraceFile read_traces(const std::string& path, TraceFields fields, double broken_limit);

// A line of such a file, with its newline.
std::string trace_line(const Trace& trace);

// What a model wrote, taken apart at its last line that begins with "#### ".
Trace make_trace(std::string prompt, std::string_view written);

struct TraceForm {
  bool chat = false;          // the prompt is a user's message, rendered by the model's chat template
  std::string system;         // with chat: a system message before it
  bool answers_only = false;  // the student learns "#### 42" without the way there
  double broken_limit = 0.01;
};

// What the model is given: the prompt rendered by the chat template; else with a line's end, unless it ends
// in white space, behind it.
std::vector<TokenId> prompt_tokens(const std::string& prompt, const Tokenizer& tokenizer,
                                   const TraceForm& form);
// What it is to write then, without the end token.
std::string completion(const Trace& trace, bool answers_only);

// Sequences of traces. Each is a document, whose completion is learned with the end token; several share a
// sequence, none is cut: one longer than a sequence is left out and counted. Equal ones are left out after
// the first. All traces of one prompt are held out together.
// Error: as read_traces and sequences_of_texts; a chat template that is missing or refuses.
Dataset sequences_of_traces(std::span<const std::string> paths, const Tokenizer& tokenizer,
                            const DataOptions& options, const TraceForm& form);

}  // namespace edgeq
