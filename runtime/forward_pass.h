// SPDX-License-Identifier: Apache-2.0
// One thread's walk of the chunks of a call through the layers.
#pragma once

#include <array>
#include <cstdint>

#include "runtime/attention.h"
#include "runtime/transformer.h"

namespace edgeq {

class ForwardPass {
 public:
  ForwardPass(Transformer& model, std::span<const Chunk> chunks, float* logits, int thread, int threads);
  void run() noexcept;

 private:
  void barrier() noexcept { model_.pool_.barrier(thread_); }
  bool single() const { return tokens_ == 1; }
  int64_t share_of(int64_t count, int thread) const { return count * thread / threads_; }

  // Whether an input is read as codes, and their scale when it is fixed.
  struct Codes {
    bool wanted = false;
    float input_scale = 0;
  };

  void embed() noexcept;
  void attention_inputs(const LayerWeights& layer) noexcept;
  void norm_all_heads(const LayerWeights& layer) noexcept;
  void attention(const LayerWeights& layer, int64_t index) noexcept;
  AttentionInput attention_input(const LayerWeights& layer, int64_t index, const Chunk& chunk,
                                 int64_t row) const noexcept;
  // What the feed-forward's last matrix reads, in space_.gate; then that matrix.
  void feed_forward_inner(const LayerWeights& layer, const LayerShape& shape) noexcept;
  void activate(float* gate, const float* up, int64_t count) const noexcept;
  void feed_forward_output(const LayerWeights& layer, const LayerShape& shape) noexcept;
  void logits() noexcept;

  // The `count` rows that a stage reads, written by write_row(row, out). A single row is
  // prepared by every thread for itself; several are shared out, and the threads meet when they are ready.
  template <class WriteRow>
  Activation prepare(int64_t count, int64_t cols, Codes codes, const WriteRow& write_row) noexcept;
  Activation prepare_norm(const Norm& norm, Codes codes) noexcept;
  // out may be x. Without a gain x is copied.
  void apply(const Norm& norm, const float* x, float* out) const noexcept;
  // What these weights, which read one input, read of it.
  template <class... Matrices>
  Codes codes_for(const Matrices&... matrices) const;
  void multiply(const Linear& linear, const Activation& x, PanelRange range, Rows& out) noexcept;
  // hidden += residual_scale * post(linear(x)), each thread for its own rows, or its own tokens where a norm
  // needs whole ones.
  void add_to_hidden(const Linear& linear, const Norm& post, const Activation& x) noexcept;

  Transformer& model_;
  Workspace& space_;
  ThreadSpace& own_;
  const KernelTable& kernels_;
  const ChunkRows& rows_;
  const std::span<const Chunk> chunks_;
  float* const logits_;
  const float epsilon_;
  const int64_t tokens_;
  const int thread_, threads_;
};

}  // namespace edgeq
