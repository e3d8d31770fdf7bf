// SPDX-License-Identifier: Apache-2.0
#include "runtime/runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"
#include "runtime/kernels/kernel_table.h"
#include "runtime/kv_cache.h"
#include "runtime/transformer.h"

namespace edgeq {
namespace {

class PackedSession final : public Session {
 public:
  PackedSession(std::shared_ptr<Transformer> model, int64_t max_tokens)
      : model_(std::move(model)), cache_(model_->config(), max_tokens) {}

  MatrixView<const float> feed(std::span<const TokenId> tokens, Logits logits) override;
  void truncate(int64_t tokens) override {
    check_truncation(tokens, length_);
    length_ = tokens;
  }
  int64_t length() const override { return length_; }

 private:
  void reserve_logits(int64_t rows);

  std::shared_ptr<Transformer> model_;
  KvCache cache_;
  int64_t length_ = 0;
  int64_t logits_rows_ = 0;  // that there is room for
  AlignedBuffer<float> logits_;
};

void PackedSession::reserve_logits(int64_t rows) {
  if (rows <= logits_rows_) return;
  logits_ = AlignedBuffer<float>();
  logits_ = AlignedBuffer<float>(rows * model_->logits_stride());
  logits_rows_ = rows;
}

MatrixView<const float> PackedSession::feed(std::span<const TokenId> tokens, Logits logits) {
  const int64_t count = std::ssize(tokens), stride = model_->logits_stride();
  check_tokens(tokens, model_->config());
  check_room(length_, count, cache_.max_tokens());
  const int64_t rows = logits == Logits::all    ? count
                       : logits == Logits::last ? std::min<int64_t>(count, 1)
                                                : 0;
  reserve_logits(rows);

  for (int64_t done = 0; done < count;) {
    check_interrupt();
    const int64_t size = std::min(Transformer::kMaxChunk, count - done);
    const bool is_last = done + size == count;
    model_->forward({.tokens = tokens.subspan(size_t(done), size_t(size)),
                     .first = length_,
                     .cache = &cache_,
                     .logit_rows = logits == Logits::all ? size
                                   : is_last             ? rows
                                                         : 0,
                     .logits = logits_.data() + (logits == Logits::all ? done * stride : 0)});
    length_ += size;
    done += size;
  }
  return {logits_.data(), rows, model_->config().vocab, stride};
}

class PackedRuntime final : public LanguageModel {
 public:
  PackedRuntime(ModelWeights weights, const KernelTable& kernels, const RuntimeOptions& options)
      : model_(std::make_shared<Transformer>(std::move(weights), kernels, options.activations,
                                             options.threads)) {}

  const ModelConfig& config() const override { return model_->config(); }
  int64_t weight_bytes() const override { return model_->weights().bytes(); }
  int64_t weight_bytes_per_token() const override { return model_->weights().bytes_per_token(); }
  int64_t kv_bytes_per_token() const override { return KvCache::bytes_per_token(config()); }
  std::unique_ptr<Session> start(const SessionOptions& options) const override {
    if (options.max_tokens < 0 || options.max_tokens > config().context)
      throw Error(fmt::format("a cache of {} tokens is asked for, the model's context is {}",
                              options.max_tokens, config().context));
    const int64_t room = options.max_tokens == 0 ? config().context : options.max_tokens;
    return std::make_unique<PackedSession>(model_, room);
  }

 private:
  std::shared_ptr<Transformer> model_;  // sessions may outlive the runtime
};

const KernelTable& kernels_for(const RuntimeOptions& options) {
  return options.isa.empty() ? kernels() : choose_kernels(options.isa);
}

}  // namespace

std::unique_ptr<LanguageModel> open_packed_runtime(const std::string& path, const RuntimeOptions& options) {
  return open_packed_runtime(std::make_shared<const PackedModel>(
                                 PackedModel::open(path, {.verify_checksums = options.verify_checksums})),
                             options);
}

std::unique_ptr<LanguageModel> open_packed_runtime(std::shared_ptr<const PackedModel> file,
                                                   const RuntimeOptions& options) {
  const KernelTable& kernels = kernels_for(options);
  return std::make_unique<PackedRuntime>(map_weights(std::move(file), kernels), kernels, options);
}

std::unique_ptr<LanguageModel> open_float_runtime(const Checkpoint& checkpoint,
                                                  const RuntimeOptions& options) {
  const KernelTable& kernels = kernels_for(options);
  return std::make_unique<PackedRuntime>(repack_weights(checkpoint, kernels), kernels, options);
}

std::string active_isa() { return kernels().isa; }

}  // namespace edgeq
