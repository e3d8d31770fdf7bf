// SPDX-License-Identifier: Apache-2.0
// Holds a model against what llama.cpp computed on it, for tests/interop/llama.py:
//
//   interop_llama_logits MODEL TEXT LOGITS [int8]
//
// MODEL is a GGUF or a packed file, TEXT the text that llama-perplexity was given and LOGITS what it saved
// (--save-all-logits, little endian): "_logits_", i32 window length n, i32 vocabulary v, i32 windows w, i32
// token ids [w, n], then for each prediction of a window's second half f32 step, f32 least and u16 [v, one
// more when odd], with ln p = least + step * u16, cut at e^-16 of the largest. The
// probabilities are llama.cpp's for its own token ids. Printed as JSON are its perplexity over these
// predictions, ours, and the divergence as `edgeq eval` measures it with llama.cpp as the reference. Weights
// are multiplied in float, or with int8 as the runtime ships them.
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "cli/open_model.h"
#include "core/error.h"
#include "eval/perplexity.h"
#include "formats/mapped_file.h"
#include "models/corpus.h"
#include "tests/interop/run_main.h"

using namespace edgeq;

namespace {

class LlamaLogits {
 public:
  explicit LlamaLogits(const std::string& path) : file_(MappedFile::open(path)), left_(file_->bytes()) {
    if (left_.size() < 20 || std::memcmp(left_.data(), "_logits_", 8) != 0)
      throw Error(fmt::format("{}: not a file of llama-perplexity --save-all-logits", path));
    left_ = left_.subspan(8);
    windows_.length = take<int32_t>();
    vocab_ = take<int32_t>();
    windows_.tokens.resize(size_t(windows_.length * take<int32_t>()));
    for (TokenId& token : windows_.tokens) token = take<int32_t>();
    const int64_t row_bytes = 8 + 2 * (vocab_ + vocab_ % 2);
    if (std::ssize(left_) != windows_.count() * predictions() * row_bytes)
      throw Error(fmt::format("{}: {} bytes of probabilities, expected {} rows of {}", path, left_.size(),
                              windows_.count() * predictions(), row_bytes));
  }

  const Windows& windows() const { return windows_; }
  int64_t vocab() const { return vocab_; }
  int64_t first_prediction() const { return windows_.length / 2; }
  int64_t predictions() const { return windows_.length - 1 - first_prediction(); }

  // ln p of each token after position `at` of a window, which has to be of its second half. What is cut is
  // given as `below` less than the cut.
  void row(int64_t window, int64_t at, float below, float* out) const {
    const int64_t index = window * predictions() + at - first_prediction();
    const std::byte* from = left_.data() + index * (8 + 2 * (vocab_ + vocab_ % 2));
    float step, least;
    std::memcpy(&step, from, 4), std::memcpy(&least, from + 4, 4);
    const bool cut = step * 65535 > 15.99f;
    for (int64_t i = 0; i < vocab_; ++i) {
      uint16_t steps;
      std::memcpy(&steps, from + 8 + 2 * i, 2);
      out[i] = least + step * float(steps) - (cut && steps == 0 ? below : 0);
    }
  }

  double perplexity() const {
    std::vector<float> log_p(static_cast<size_t>(vocab_));
    double sum = 0;
    for (int64_t w = 0; w < windows_.count(); ++w)
      for (int64_t at = first_prediction(); at < windows_.length - 1; ++at) {
        row(w, at, 0, log_p.data());
        sum -= log_p[size_t(windows_[w][size_t(at + 1)])];
      }
    return std::exp(sum / double(windows_.count() * predictions()));
  }

 private:
  template <class T>
  T take() {
    if (left_.size() < sizeof(T)) throw Error("the file of logits ends early");
    T value;
    std::memcpy(&value, left_.data(), sizeof(T));
    left_ = left_.subspan(sizeof(T));
    return value;
  }

  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> left_;
  Windows windows_;
  int64_t vocab_ = 0;
};

// llama.cpp as an engine: its sessions answer with what it saved, one window each, in order. Nothing was
// saved of the first half, which nothing is scored on; it is answered with zeros.
class Replayed final : public LanguageModel {
 public:
  Replayed(const LlamaLogits& logits, const ModelConfig& config) : logits_(logits), config_(config) {}
  const ModelConfig& config() const override { return config_; }
  int64_t weight_bytes() const override { return 0; }
  int64_t kv_bytes_per_token() const override { return 0; }
  std::unique_ptr<Session> start(const SessionOptions&) const override {
    return std::make_unique<Window>(logits_, next_window_++);
  }

 private:
  class Window final : public Session {
   public:
    Window(const LlamaLogits& logits, int64_t window) : logits_(logits), window_(window) {}
    MatrixView<const float> feed(std::span<const TokenId> tokens, Logits) override {
      rows_.assign(tokens.size() * size_t(logits_.vocab()), 0);
      for (size_t i = 0; i < tokens.size(); ++i, ++length_)
        if (length_ >= logits_.first_prediction())
          logits_.row(window_, length_, kNothing, rows_.data() + i * size_t(logits_.vocab()));
      return {rows_.data(), std::ssize(tokens), logits_.vocab()};
    }
    void truncate(int64_t) override { throw Error("what llama.cpp computed cannot be fed anew"); }
    int64_t length() const override { return length_; }

   private:
    // Tens of thousands of tokens at the cut would add up to a share that llama.cpp does not give them.
    static constexpr float kNothing = 100;
    const LlamaLogits& logits_;
    int64_t window_, length_ = 0;
    std::vector<float> rows_;
  };

  const LlamaLogits& logits_;
  const ModelConfig& config_;
  mutable int64_t next_window_ = 0;
};

// As llama-perplexity cuts its windows: BOS in front of the text, and instead of each window's first token.
Windows expected_windows(const std::string& text, const Tokenizer& tokenizer, const Windows& theirs) {
  Corpus corpus = read_corpus(text, tokenizer);
  const bool bos = tokenizer.adds_bos() && tokenizer.bos();
  if (bos) corpus.tokens.insert(corpus.tokens.begin(), *tokenizer.bos());
  Windows windows = cut_windows(corpus, theirs.length, theirs.count());
  if (windows.tokens != theirs.tokens) throw Error("llama.cpp's token ids of the text are not ours");
  for (int64_t w = 0; bos && w < windows.count(); ++w)
    windows.tokens[size_t(w * windows.length)] = *tokenizer.bos();
  return windows;
}

void run(int argc, char** argv) {
  if (argc < 4) throw Error("usage: MODEL TEXT LOGITS [int8]");
  const bool int8 = argc > 4;
  const OpenModel open =
      open_runtime_model(argv[1], {.activations = int8 ? Activations::int8_block : Activations::f32});
  const LlamaLogits logits(argv[3]);
  if (logits.vocab() != open.model->config().vocab)
    throw Error(
        fmt::format("llama.cpp has {} tokens and the model {}", logits.vocab(), open.model->config().vocab));
  const Windows windows = expected_windows(argv[2], open.tokenizer, logits.windows());
  const Replayed llama(logits, open.model->config());
  const TextQuality quality = measure_text_quality(*open.model, &llama, windows, {});
  fmt::print("{{\"llama_perplexity\": {}, \"perplexity\": {}, \"kl_mean\": {}}}\n", logits.perplexity(),
             quality.perplexity, quality.divergence->kl_mean);
}

}  // namespace

int main(int argc, char** argv) {
  return run_main("interop_llama_logits", [&] { run(argc, argv); });
}
