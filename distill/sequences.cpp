// SPDX-License-Identifier: Apache-2.0
#include "distill/sequences.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "core/error.h"
#include "core/hash.h"
#include "core/random.h"
#include "distill/packing.h"
#include "models/corpus.h"

namespace edgeq {
namespace {

using Tokens = std::vector<TokenId>;

// A corpus's documents, without those that were there before. What ends a document, blank lines between it
// and the next, is not compared.
void add_documents(const Corpus& corpus, const Tokenizer& tokenizer, std::unordered_set<std::string>& seen,
                   std::vector<Tokens>& documents, DataCounts& counts) {
  for (size_t d = 0; d < corpus.documents.size(); ++d) {
    const bool last = d + 1 == corpus.documents.size();
    const int64_t end = last ? std::ssize(corpus.tokens) : corpus.documents[d + 1];
    Tokens tokens(corpus.tokens.begin() + corpus.documents[d], corpus.tokens.begin() + end);
    std::string text = tokenizer.decode(tokens, SpecialTokens::parse);
    text.erase(text.find_last_not_of(" \t\r\n") + 1);
    ++counts.documents;
    if (seen.insert(content_hash(text)).second)
      documents.push_back(std::move(tokens));
    else
      ++counts.duplicates;
  }
}

int64_t total(const std::vector<Tokens>& documents) {
  return std::accumulate(documents.begin(), documents.end(), int64_t(0),
                         [](int64_t sum, const Tokens& d) { return sum + std::ssize(d); });
}

// Takes what is held out from `documents`, which keep their order.
std::vector<Tokens> take_held_out(std::vector<Tokens>& documents, const DataOptions& options) {
  auto wanted = int64_t(std::llround(options.held_out * double(total(documents))));
  std::vector<Tokens> taken;
  for (const int64_t d : epoch_order(std::ssize(documents), options.seed, kHeldOutEpoch)) {
    if (wanted <= 0) break;
    Tokens& document = documents[size_t(d)];
    const int64_t part = std::min(wanted, std::ssize(document));
    // The rest of a short document is no text of its own.
    const bool whole = std::ssize(document) <= options.length || part == std::ssize(document);
    taken.emplace_back(whole ? document.begin() : document.end() - part, document.end());
    document.resize(whole ? 0 : size_t(std::ssize(document) - part));
    wanted -= std::ssize(taken.back());
  }
  std::erase_if(documents, [](const Tokens& d) { return d.empty(); });
  return taken;
}

std::vector<Sequence> fill(const std::vector<Tokens>& documents, const Tokenizer& tokenizer, int64_t length) {
  const bool bos = tokenizer.adds_bos() && tokenizer.bos();
  std::vector<Sequence> sequences;
  for (const Tokens& document : documents) {
    for (int64_t at = 0; at < std::ssize(document);) {
      if (sequences.empty() || std::ssize(sequences.back().tokens) + 2 > length) sequences.emplace_back();
      Sequence& sequence = sequences.back();
      const int64_t begin = std::ssize(sequence.tokens), room = length - begin - (bos ? 1 : 0);
      const int64_t taken = std::min(room, std::ssize(document) - at);
      if (!bos && taken < 2) break;  // a token that nothing is learned from
      sequence.documents.push_back(begin);
      if (bos) sequence.tokens.push_back(*tokenizer.bos());
      sequence.tokens.insert(sequence.tokens.end(), document.begin() + at, document.begin() + at + taken);
      sequence.learned.resize(sequence.tokens.size(), 1);
      sequence.learned[size_t(begin)] = 0;
      at += taken;
    }
  }
  std::erase_if(sequences, [](const Sequence& s) { return s.tokens.empty(); });
  return sequences;
}

}  // namespace

void check_options(const DataOptions& options) {
  if (options.length < 2)
    throw Error(fmt::format("sequences of {} tokens; expected at least 2", options.length));
  if (!(options.held_out >= 0 && options.held_out <= 0.5))
    throw Error(fmt::format("a share of {} held out; expected 0 to 0.5", options.held_out));
}

void check_dataset(const Dataset& data, const DataOptions& options) {
  const DataCounts& counts = data.counts;
  if (2 * counts.duplicates > counts.documents)
    throw Error(fmt::format("{}: {} of {} documents are equal to earlier ones; expected at most half",
                            data.name, counts.duplicates, counts.documents))
        .set_hint("take each document into the file once; how often it is read is a matter of epochs");
  if (data.train.empty())
    throw Error(fmt::format("{}: nothing to learn from: {}", data.name, data_text(data)));
  if (options.held_out > 0 && data.held_out.empty())
    throw Error(fmt::format("{}: too little text to hold {} of it out: {}", data.name, options.held_out,
                            data_text(data)));
}

Dataset sequences_of_texts(std::span<const std::string> paths, const Tokenizer& tokenizer,
                           const DataOptions& options) {
  check_options(options);
  if (paths.empty()) throw Error("no text to learn from; expected at least one file");
  Dataset data;
  std::unordered_set<std::string> seen;
  std::vector<Tokens> documents;
  for (const std::string& path : paths) {
    const Corpus corpus = read_corpus(path, tokenizer);
    data.name += (data.name.empty() ? "" : ", ") + corpus.name;
    add_documents(corpus, tokenizer, seen, documents, data.counts);
  }
  data.held_out = fill(take_held_out(documents, options), tokenizer, options.length);
  data.train = fill(documents, tokenizer, options.length);
  check_dataset(data, options);
  return data;
}

std::string data_text(const Dataset& data) {
  const DataCounts& c = data.counts;
  std::string text = fmt::format("{} documents", c.documents);
  if (c.duplicates > 0) text += fmt::format(", {} duplicates left out", c.duplicates);
  if (c.broken > 0) text += fmt::format(", {} broken lines left out ({})", c.broken, c.first_broken);
  if (c.too_long > 0) text += fmt::format(", {} too long for a sequence left out", c.too_long);
  text += fmt::format(", {} sequences with {} tokens ({} learned)", data.train.size(),
                      token_count(data.train), learned_count(data.train));
  if (!data.held_out.empty()) text += fmt::format(", {} held out", data.held_out.size());
  return text;
}

int64_t token_count(std::span<const Sequence> sequences) {
  int64_t count = 0;
  for (const Sequence& s : sequences) count += std::ssize(s.tokens);
  return count;
}

int64_t learned_count(std::span<const Sequence> sequences) {
  int64_t count = 0;
  for (const Sequence& s : sequences) count += std::count(s.learned.begin(), s.learned.end(), 1);
  return count;
}

std::string sequences_hash(std::span<const Sequence> sequences) {
  Hasher hasher;
  for (const Sequence& s : sequences) {
    const std::array<int64_t, 2> sizes{std::ssize(s.tokens), std::ssize(s.documents)};
    hasher.add(std::as_bytes(std::span(sizes)))
        .add(std::as_bytes(std::span(s.tokens)))
        .add(std::as_bytes(std::span(s.learned)))
        .add(std::as_bytes(std::span(s.documents)));
  }
  return hasher.digest();
}

std::vector<int64_t> epoch_order(int64_t count, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t(0));
  Random random(stream_seed(seed, uint64_t(epoch)));
  for (int64_t i = count - 1; i > 0; --i)
    std::swap(order[size_t(i)], order[size_t(random.below(uint64_t(i + 1)))]);
  return order;
}

}  // namespace edgeq
