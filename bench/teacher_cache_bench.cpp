// SPDX-License-Identifier: Apache-2.0
// What a cached teacher takes on disk and what its forms lose: a model's distributions over a text, kept as
// top-k and as samples of several sizes. Prints a Markdown table.
// usage: teacher_cache_bench MODEL TEXT FOLDER [SEQUENCES = 16] [LENGTH = 256]
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/version.h"
#include "distill/sequences.h"
#include "distill/teacher_cache.h"
#include "runtime/runtime.h"

namespace edgeq {
namespace {

// Rows of a sequence's documents, each read by itself, as logarithms of probabilities.
Tensor log_probabilities(const LanguageModel& model, const Sequence& sequence) {
  const int64_t vocab = model.config().vocab;
  Tensor rows(DType::f32, {std::ssize(sequence.tokens), vocab});
  const auto session = model.start({.max_tokens = std::ssize(sequence.tokens)});
  for (size_t d = 0; d < sequence.documents.size(); ++d) {
    const int64_t begin = sequence.documents[d];
    const int64_t end = d + 1 < sequence.documents.size() ? sequence.documents[d + 1] : rows.rows();
    session->truncate(0);
    const auto logits =
        session->feed(std::span(sequence.tokens).subspan(size_t(begin), size_t(end - begin)), Logits::all);
    for (int64_t t = begin; t < end; ++t) {
      const float* row = logits.row(t - begin);
      double most = row[0], sum = 0;
      for (int64_t v = 0; v < vocab; ++v) most = std::max(most, double(row[v]));
      for (int64_t v = 0; v < vocab; ++v) sum += std::exp(double(row[v]) - most);
      for (int64_t v = 0; v < vocab; ++v)
        rows.f32()[t * vocab + v] = float(double(row[v]) - most - std::log(sum));
    }
  }
  return rows;
}

// The top-k without its tail's mass: what a cache must not be.
TeacherRows renormalised(TeacherRows rows) {
  for (int64_t t = 0; t < rows.tokens; ++t) {
    for (int64_t i = 0; i < rows.k; ++i) rows.weights[size_t(t * rows.k + i)] /= 1 - rows.tail[size_t(t)];
    rows.tail[size_t(t)] = 0;
  }
  return rows;
}

void print_row(const std::string& name, double bytes, const TeacherLoss& loss) {
  fmt::print("| {} | {:.1f} | {:.4f} | {:.2g} | {:.4f} | {:.4f} |\n", name, bytes, loss.tail, loss.divergence,
             loss.bias, loss.bias_of_noise);
}

void bench(int argc, char** argv) {
  const std::string model_path = argv[1], folder = argv[3];
  const int64_t count = argc > 4 ? std::atoi(argv[4]) : 16, length = argc > 5 ? std::atoi(argv[5]) : 256;
  const auto checkpoint = open_checkpoint(model_path);
  const auto model = open_float_runtime(*checkpoint, {});
  const std::vector<std::string> texts{argv[2]};
  std::vector<Sequence> sequences =
      sequences_of_texts(texts, checkpoint->tokenizer(), {.length = length}).train;
  sequences.resize(std::min(sequences.size(), size_t(count)));
  std::vector<Tensor> rows;
  for (const Sequence& s : sequences) rows.push_back(log_probabilities(*model, s));
  fmt::print("{} tokens, vocabulary {}\n\n", token_count(sequences), model->config().vocab);
  fmt::print("| form | bytes/token | mass outside | KL(kept, teacher) | bias | of noise alone |\n");
  fmt::print("| --- | --- | --- | --- | --- | --- |\n");
  for (const TeacherKind kind : {TeacherKind::top_k, TeacherKind::samples}) {
    for (const int64_t k : {8, 16, 32, 50, 64}) {
      const bool top = kind == TeacherKind::top_k;
      const TeacherKey key{.teacher = checkpoint->hash(),
                           .sequences = sequences_hash(sequences),
                           .count = std::ssize(sequences),
                           .vocab = model->config().vocab,
                           .form = {.kind = kind, .k = k},
                           .tool_version = std::string(version())};
      const std::string path = fmt::format("{}/{}-{}", folder, top ? "top" : "samples", k);
      TeacherCacheWriter writer(path, key);
      while (writer.done() < key.count) writer.add(rows[size_t(writer.done())].matrix());
      const TeacherCache cache(path, key);
      TeacherLossMeter meter(key.vocab, key.form), biased(key.vocab, key.form);
      for (size_t s = 0; s < rows.size(); ++s) {
        const TeacherRows kept = cache.read(int64_t(s));
        meter.add(rows[s].matrix(), kept);
        if (top) biased.add(rows[s].matrix(), renormalised(kept));
      }
      const double bytes = double(cache.bytes()) / double(token_count(sequences));
      print_row(fmt::format("{} {}", top ? "top_k" : "samples", k), bytes, meter.result());
      if (top) print_row(fmt::format("top_k {}, renormalised", k), bytes, biased.result());
    }
  }
}

}  // namespace
}  // namespace edgeq

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: teacher_cache_bench MODEL TEXT FOLDER [SEQUENCES] [LENGTH]\n");
    return 2;
  }
  try {
    edgeq::bench(argc, argv);
    return 0;
  } catch (const edgeq::Error& error) {
    fmt::print(stderr, "teacher_cache_bench: {}\n", error.what());
    return 1;
  }
}
