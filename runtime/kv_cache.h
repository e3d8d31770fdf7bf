// SPDX-License-Identifier: Apache-2.0
// Keys and values of one sequence, laid out as float panels so that attention runs on the float matmul
// kernel:
//   keys    per layer and KV head, panels of 16 positions: [positions/16][head_dim][16]
//   values  per layer and KV head, panels of 16 dimensions: [head_dim/16][positions][16]
// All room is reserved at the start; pages are used as the sequence grows.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "models/config.h"
#include "runtime/aligned_buffer.h"
#include "runtime/kernels/kernel_abi.h"

namespace edgeq {

class KvCache {
 public:
  KvCache(const ModelConfig& config, int64_t max_tokens);

  int64_t max_tokens() const { return max_tokens_; }
  // Bytes that a token takes in all layers, without padding.
  static int64_t bytes_per_token(const ModelConfig& config);

  // key, value: head_dim floats; the key is already rotated.
  void write(int64_t layer, int64_t head, int64_t position, const float* key, const float* value) noexcept;
  // Rows are positions from `first`, a multiple of 16.
  KernelFloatWeight keys(int64_t layer, int64_t head, int64_t first) const noexcept;
  // Rows are dimensions, columns the positions [first, first + count).
  KernelFloatWeight values(int64_t layer, int64_t head, int64_t first, int64_t count) const noexcept;

 private:
  struct Layer {
    int64_t head_dim = 0;
    int64_t keys = 0, values = 0;              // where its floats begin
    int64_t key_floats = 0, value_floats = 0;  // of one head
  };
  int64_t max_tokens_ = 0, room_ = 0;
  std::vector<Layer> layers_;
  AlignedBuffer<float> floats_;
};

}  // namespace edgeq
