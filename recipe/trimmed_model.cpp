// SPDX-License-Identifier: Apache-2.0
#include "recipe/trimmed_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "models/coded_checkpoint.h"
#include "models/coded_model.h"
#include "models/corpus.h"
#include "recipe/calibrate.h"

namespace edgeq {
namespace {

class TrimmedModel final : public CodedModel {
 public:
  TrimmedModel(const std::shared_ptr<const Checkpoint>& checkpoint, std::vector<TokenId> kept)
      : source_(coded_model(checkpoint)),
        config_(checkpoint->config()),
        kept_(std::move(kept)),
        tokenizer_(serialize_tokenizer(trim_tokenizer(checkpoint->tokenizer().data(), kept_))) {
    config_.vocab = std::ssize(kept_);
  }

  const std::string& path() const override { return source_->path(); }
  const ModelConfig& config() const override { return config_; }
  Tokenizer tokenizer() const override { return Tokenizer::deserialize(tokenizer_); }
  std::string provenance_json() const override { return source_->provenance_json(); }
  WeightForm form(std::string_view site) const override {
    WeightForm form = source_->form(site);
    if (!has_rows_of_tokens(site)) return form;
    return {.scheme = {}, .dtype = form.dtype, .rows = config_.vocab, .cols = form.cols};
  }
  CodedWeight weight(std::string_view site) const override {
    CodedWeight whole = source_->weight(site);
    if (!has_rows_of_tokens(site)) return whole;
    const WeightForm form = this->form(site);
    const auto rows = [&](int64_t first, int64_t count) {
      Tensor taken(DType::f32, {count, form.cols});
      for (int64_t r = 0; r < count; ++r)
        std::copy_n(dequantize(whole, kept_[size_t(first + r)], 1).f32(), form.cols, taken.matrix().row(r));
      return taken;
    };
    return {.codes = {}, .kept = cast_rows(form.rows, form.cols, form.dtype, rows)};
  }
  Tensor vector(std::string_view name) const override { return source_->vector(name); }

 private:
  static bool has_rows_of_tokens(std::string_view site) { return site == "embedding" || site == "head"; }

  std::unique_ptr<CodedModel> source_;
  ModelConfig config_;
  std::vector<TokenId> kept_;
  std::vector<std::byte> tokenizer_;
};

}  // namespace

Trimmed trim_vocabulary(const std::shared_ptr<const Checkpoint>& checkpoint, const VocabularyCut& cut,
                        const std::vector<std::string>& texts) {
  const Tokenizer tokenizer = checkpoint->tokenizer();
  const int64_t rows = checkpoint->config().vocab;
  if (tokenizer.vocab_size() > rows)
    throw Error(
        fmt::format("the tokenizer has {} tokens and the embedding {} rows", tokenizer.vocab_size(), rows));
  std::vector<int64_t> counts(size_t(tokenizer.vocab_size()), 0);
  const auto count = [&](const Corpus& corpus) {
    for (const TokenId token : corpus.tokens) ++counts[size_t(token)];
  };
  if (std::ranges::count(texts, kSelfCorpus) != 0)
    throw Error(
        "the vocabulary is cut by the tokens of a text; expected a file, or `default`, not the model's own");
  for (const std::string& text : texts)
    if (text != kDefaultCorpus) count(read_corpus(text, tokenizer));
  if (texts.empty() || std::ranges::count(texts, kDefaultCorpus) != 0)
    count(corpus_of_json_lines(std::string(kDefaultCorpus), default_corpus(), tokenizer));
  Trimmed trimmed{.checkpoint = {}, .kept = tokens_to_keep(tokenizer.data(), rows, counts, cut)};
  trimmed.seen = std::ssize(counts) - std::ranges::count(counts, 0);
  if (std::ssize(trimmed.kept) == rows)
    throw Error(fmt::format("all of the {} tokens are in the text or have to stay; nothing is to go", rows));
  trimmed.checkpoint = as_checkpoint(std::make_shared<TrimmedModel>(checkpoint, trimmed.kept));
  return trimmed;
}

}  // namespace edgeq
