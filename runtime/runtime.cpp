// SPDX-License-Identifier: Apache-2.0
#include "runtime/runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"
#include "runtime/kernels/kernel_table.h"
#include "runtime/packed_batch.h"
#include "runtime/sequence.h"
#include "runtime/transformer.h"

namespace edgeq {
namespace {

class PackedSession final : public Session {
 public:
  PackedSession(std::shared_ptr<Transformer> model, const KvScheme& kv, int64_t max_tokens)
      : model_(std::move(model)),
        sequence_(
            std::make_shared<KvPool>(model_->kv_layout(kv), model_->kv_layout(kv).most_pages(max_tokens), 1),
            max_tokens) {}

  MatrixView<const float> feed(std::span<const TokenId> tokens, Logits logits) override;
  void truncate(int64_t tokens) override {
    check_truncation(tokens, length());
    sequence_.truncate(tokens);
  }
  int64_t length() const override { return sequence_.length(); }
  SessionState save() const override { return sequence_.save(); }
  void restore(const SessionState& state, int64_t tokens) override {
    check_tokens(state.tokens, model_->config());
    sequence_.restore(state, tokens);
  }

 private:
  void reserve_logits(int64_t rows);
  // Appends the tokens that are missing to the cache; logits: of the last `rows`.
  void forward(int64_t rows);

  std::shared_ptr<Transformer> model_;
  Sequence sequence_;
  int64_t logits_rows_ = 0;  // that there is room for
  AlignedBuffer<float> logits_;
};

void PackedSession::reserve_logits(int64_t rows) {
  if (rows <= logits_rows_) return;
  logits_ = AlignedBuffer<float>();
  logits_ = AlignedBuffer<float>(rows * model_->logits_stride());
  logits_rows_ = rows;
}

void PackedSession::forward(int64_t rows) {
  const int64_t end = length(), first_row = end - rows;
  while (sequence_.cached() < end) {
    check_interrupt();
    const int64_t done_rows = std::max<int64_t>(0, sequence_.cached() - first_row);
    const Chunk chunk = sequence_.next_chunk(end, Transformer::kMaxRows, first_row);
    model_->forward({&chunk, 1}, logits_.data() + done_rows * model_->logits_stride());
    sequence_.done(chunk);
  }
}

MatrixView<const float> PackedSession::feed(std::span<const TokenId> tokens, Logits logits) {
  const int64_t count = std::ssize(tokens);
  check_tokens(tokens, model_->config());
  check_room(length(), count, sequence_.max_tokens());
  const int64_t rows = logits == Logits::all    ? count
                       : logits == Logits::last ? std::min<int64_t>(count, 1)
                                                : 0;
  reserve_logits(rows);
  if (count > 0) forward(0);
  sequence_.append(tokens);
  forward(rows);
  return {logits_.data(), rows, model_->config().vocab, model_->logits_stride()};
}

class PackedRuntime final : public LanguageModel {
 public:
  PackedRuntime(ModelWeights weights, const KernelTable& kernels, const RuntimeOptions& options,
                Activations activations, const KvScheme& kv)
      : model_(std::make_shared<Transformer>(std::move(weights), kernels, activations, options.reach,
                                             options.threads)),
        kv_(kv) {}

  const ModelConfig& config() const override { return model_->config(); }
  int64_t weight_bytes() const override { return model_->weights().bytes(); }
  int64_t weight_bytes_per_token() const override { return model_->weights().bytes_per_token(); }
  int64_t kv_bytes_per_token() const override { return model_->kv_layout(kv_).bytes_per_token(); }
  std::unique_ptr<Session> start(const SessionOptions& options) const override {
    const int64_t most = model_->longest_sequence();
    if (options.max_tokens < 0 || options.max_tokens > most)
      throw Error(fmt::format("a cache of {} tokens is asked for, the {} is {}", options.max_tokens,
                              most == config().context ? "model's context" : "most with a window", most));
    const int64_t room = options.max_tokens == 0 ? config().context : options.max_tokens;
    return std::make_unique<PackedSession>(model_, kv_, room);
  }
  std::unique_ptr<Batch> start_batch(const BatchOptions& options) const override {
    return std::make_unique<PackedBatch>(model_, kv_, options);
  }

 private:
  std::shared_ptr<Transformer> model_;  // sessions may outlive the runtime
  KvScheme kv_;
};

// Every weight with codes that reads rows of floats; a table that is not the head as well is only looked up.
void check_input_scales(const PackedModel& file) {
  for (const auto& [site, weight] : file.weights()) {
    const bool looked_up = site == "embedding" && !file.config().tied_head;
    if (weight.scheme && !looked_up && weight.input_scale == 0)
      throw Error(fmt::format("{}: {} has no input scale; int8_static needs one", file.path(), site))
          .set_hint("quantize with calibration: {inputs: int8_static}");
  }
}

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
  const KvScheme kv = options.kv.value_or(file->kv());
  const Activations activations = options.activations.value_or(file->activations());
  if (activations == Activations::int8_static) check_input_scales(*file);
  return std::make_unique<PackedRuntime>(map_weights(std::move(file), kernels), kernels, options, activations,
                                         kv);
}

std::unique_ptr<LanguageModel> open_float_runtime(const Checkpoint& checkpoint,
                                                  const RuntimeOptions& options) {
  const KernelTable& kernels = kernels_for(options);
  return std::make_unique<PackedRuntime>(repack_weights(checkpoint, kernels), kernels, options,
                                         Activations::f32, options.kv.value_or(KvScheme{}));
}

std::string active_isa() { return kernels().isa; }

}  // namespace edgeq
