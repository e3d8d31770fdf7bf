// SPDX-License-Identifier: Apache-2.0
// The runtime's Batch (models/batch.h). Each step takes one token of every sequence that decodes and fills
// the rows that are left with prompts, oldest first. The oldest request always runs: it was refused if the
// whole pool could not hold it.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "models/batch.h"
#include "models/kv_scheme.h"
#include "runtime/aligned_buffer.h"
#include "runtime/sequence.h"
#include "runtime/transformer.h"

namespace edgeq {

class PackedBatch final : public Batch {
 public:
  // Throws Error for options out of range.
  PackedBatch(std::shared_ptr<Transformer> model, const KvScheme& kv, const BatchOptions& options);

  int64_t submit(BatchRequest request) override;
  void cancel(int64_t id) override;
  bool step() override;
  int64_t running() const override { return std::ssize(running_); }
  int64_t waiting() const override { return std::ssize(waiting_); }
  BatchStats stats() const override;

 private:
  // A request, the tokens it has so far, and while it runs its sequence.
  struct Job {
    int64_t id = 0;
    BatchRequest request;
    std::vector<TokenId> tokens;
    std::unique_ptr<Sequence> sequence;
    int64_t room() const { return std::ssize(request.prompt) + request.tokens; }
    bool decodes() const { return sequence->cached() + 1 == std::ssize(tokens); }
  };

  void admit();
  // Begins with what a running sequence has in common with it, unless one older is about to have more.
  bool begin(Job& job);
  void take_chunks();
  // False when there are no pages even after the younger ones gave theirs back: then it did so too.
  bool take_chunk(size_t at, int64_t most);
  void preempt_youngest();
  void retire(Job& job);
  void hand_out();
  bool accept(Job& job, const float* logits);  // whether it goes on

  std::shared_ptr<Transformer> model_;
  std::shared_ptr<KvPool> pool_;
  const bool share_prefixes_;
  int64_t room_ = 0;  // of a sequence
  std::vector<std::unique_ptr<Sequence>> idle_;
  std::vector<Job> running_;  // oldest first
  std::deque<Job> waiting_;
  std::vector<Chunk> chunks_;
  std::vector<size_t> owners_;  // of each chunk, its place in running_
  AlignedBuffer<float> logits_;
  int64_t rows_ = 0;  // of chunks_
  int64_t next_id_ = 0;
  BatchStats stats_;
};

}  // namespace edgeq
