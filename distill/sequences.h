// SPDX-License-Identifier: Apache-2.0
// What a student reads: sequences of tokens, each packed of documents that do not see each other, with a mark
// on every token that the loss counts. Made of texts here, of traces in distill/traces.h; both split whole
// documents into those to learn from and those held out before anything is packed, so that no document is in
// both.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/token.h"
#include "models/tokenizer.h"

namespace edgeq {

struct Sequence {  // what one forward pass reads: packed documents, which do not see each other
  std::vector<TokenId> tokens;
  std::vector<uint8_t> learned;    // 1: the loss counts how this token is predicted from those before it in
                                   // its document; never the first of a document
  std::vector<int64_t> documents;  // where each begins in `tokens`, ascending, the first is 0
};

// What was read and what of it was left out.
struct DataCounts {
  int64_t documents = 0;     // read: texts, JSON lines or traces
  int64_t duplicates = 0;    // equal to an earlier one: left out
  int64_t broken = 0;        // lines that are no trace: left out
  std::string first_broken;  // "traces.jsonl: line 12: no prompt"
  int64_t too_long = 0;      // traces that no sequence holds: left out
};

struct Dataset {
  std::vector<Sequence> train, held_out;
  DataCounts counts;
  std::string name;  // "a.txt, b.jsonl"
};

struct DataOptions {
  int64_t length = 512;  // tokens of a sequence, at most
  double held_out = 0;   // share of the tokens, in whole documents
  uint64_t seed = 0;     // which documents are held out
};

// Sequences of texts as models/corpus.h reads them. They are filled one document after another, whose rest
// goes on in the next sequence as a document of its own; where the model begins with BOS, every document does
// (the rule of cut_input_windows), else the first token of each only stands before the others. All but the
// first are learned. A document longer than what is still to be held out gives its last part.
// Error: unreadable, nothing in it, a length below 2, a share outside [0, 0.5], more than half of the
// documents equal to earlier ones (less than half of the text is there that its size promises, so counts of
// tokens and epochs mean nothing).
Dataset sequences_of_texts(std::span<const std::string> paths, const Tokenizer& tokenizer,
                           const DataOptions& options);

// "1200 documents, 3 duplicates left out, 900 sequences with 410000 tokens (409100 learned), 45 held out"
std::string data_text(const Dataset& data);

int64_t token_count(std::span<const Sequence> sequences);
int64_t learned_count(std::span<const Sequence> sequences);
// Of all that is in them, in their order: of caches and checkpoints.
std::string sequences_hash(std::span<const Sequence> sequences);

// The order in which an epoch visits `count` sequences: each once, by the seed and the number of the epoch.
std::vector<int64_t> epoch_order(int64_t count, uint64_t seed, int64_t epoch);

}  // namespace edgeq
