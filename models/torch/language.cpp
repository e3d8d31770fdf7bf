// SPDX-License-Identifier: Apache-2.0
#include <c10/core/InferenceMode.h>

#include <utility>

#include "core/interrupt.h"
#include "models/torch/decoder.h"
#include "models/torch/threads.h"
#include "models/torch/torch_model.h"

namespace edgeq {
namespace {

int64_t bytes_of(const Site& site) { return site.weight.bytes() + site.bias.bytes(); }

class TorchModel final : public LanguageModel {
 public:
  explicit TorchModel(const Checkpoint& checkpoint)
      : decoder_(checkpoint.config()), ends_(load_ends(checkpoint)) {
    weight_bytes_ = bytes_of(ends_.embedding) + bytes_of(ends_.head);
    for (const NamedTensor& other : ends_.others) weight_bytes_ += other.tensor.bytes();
    const auto count = int(config().layers.size());
    blocks_.reserve(size_t(count));
    for (int b = 0; b < count; ++b) {
      const Block& block = blocks_.emplace_back(load_block(checkpoint, b));
      layers_.push_back(weights_of(block));
      for (const Site& site : block.sites) weight_bytes_ += bytes_of(site);
      for (const NamedTensor& other : block.others) weight_bytes_ += other.tensor.bytes();
    }
  }

  const ModelConfig& config() const override { return decoder_.config(); }
  int64_t weight_bytes() const override { return weight_bytes_; }
  int64_t weight_bytes_per_token() const override {
    if (config().tied_head) return weight_bytes_;
    const Tensor& table = ends_.embedding.weight;
    return weight_bytes_ - table.bytes() + table.bytes() / table.rows();
  }
  int64_t kv_bytes_per_token() const override {
    int64_t values = 0;
    for (const LayerShape& shape : config().layers) values += 2 * shape.kv_heads * shape.head_dim;
    return values * int64_t(sizeof(float));
  }
  std::unique_ptr<Session> start(const SessionOptions& options) const override;

  // Hidden states after the last block, [tokens, hidden].
  at::Tensor forward(std::span<const TokenId> tokens, std::vector<KeyValues>& past) const {
    at::Tensor hidden = decoder_.embed(ends_, tokens, past.front().length);
    for (size_t l = 0; l < layers_.size(); ++l) {
      check_interrupt();
      hidden = decoder_.block(layers_[l], config().layers[l], hidden, &past[l]);
    }
    return hidden;
  }

  // [tokens, hidden] -> [tokens, vocab].
  at::Tensor logits(const at::Tensor& hidden) const {
    return decoder_.logits(ends_, decoder_.head_input(ends_, hidden));
  }

 private:
  Decoder decoder_;
  Ends ends_;
  std::vector<Block> blocks_;  // own what layers_ views
  std::vector<LayerTensors> layers_;
  int64_t weight_bytes_ = 0;
};

class TorchSession final : public Session {
 public:
  TorchSession(const TorchModel& model, int64_t max_tokens)
      : model_(model), max_tokens_(max_tokens), past_(model.config().layers.size()) {
    for (KeyValues& layer : past_) layer.room = max_tokens;
  }

  MatrixView<const float> feed(std::span<const TokenId> tokens, Logits wanted) override {
    const c10::InferenceMode guard;
    check_tokens(tokens, model_.config());
    check_room(length(), int64_t(tokens.size()), max_tokens_);
    if (tokens.empty()) return {};
    const int64_t before = length();
    try {
      return run(tokens, wanted);
    } catch (...) {  // an interrupt may have stopped between two layers
      for (KeyValues& layer : past_) layer.length = before;
      throw;
    }
  }

  void truncate(int64_t tokens) override {
    check_truncation(tokens, length());
    for (KeyValues& layer : past_) layer.length = tokens;
  }

  int64_t length() const override { return past_.front().length; }

 private:
  MatrixView<const float> run(std::span<const TokenId> tokens, Logits wanted) {
    at::Tensor hidden = model_.forward(tokens, past_);
    if (wanted == Logits::none) return {};
    if (wanted == Logits::last) hidden = hidden.narrow(0, hidden.size(0) - 1, 1);
    logits_ = model_.logits(hidden);
    return {logits_.data_ptr<float>(), logits_.size(0), logits_.size(1)};
  }

  const TorchModel& model_;
  int64_t max_tokens_;
  std::vector<KeyValues> past_;
  at::Tensor logits_;
};

std::unique_ptr<Session> TorchModel::start(const SessionOptions& options) const {
  return std::make_unique<TorchSession>(*this,
                                        options.max_tokens > 0 ? options.max_tokens : config().context);
}

}  // namespace

std::unique_ptr<LanguageModel> open_torch_model(const Checkpoint& checkpoint) {
  use_one_thread_per_product();
  return std::make_unique<TorchModel>(checkpoint);
}

}  // namespace edgeq
