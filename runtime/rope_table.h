// SPDX-License-Identifier: Apache-2.0
// Cosines and sines of the rotary embedding (Su et al., "RoFormer", 2021) for positions used so far.
// Dimension i of a head pairs with i + dims/2 and turns by position * theta^(-2i/dims) / divisor[i]
// (models/config.h).
#pragma once

#include <cstdint>

#include "models/config.h"
#include "runtime/aligned_buffer.h"

namespace edgeq {

class RopeTable {
 public:
  RopeTable() = default;
  // Room for positions [0, positions); none is computed yet.
  RopeTable(Rope rope, int64_t positions);

  const Rope& rope() const { return rope_; }
  int64_t half() const { return half_; }
  // Computes positions below `end`, which is at most the room.
  void extend(int64_t end) noexcept;
  // half() floats for a computed position.
  const float* cosine(int64_t position) const noexcept { return cosine_.data() + position * half_; }
  const float* sine(int64_t position) const noexcept { return sine_.data() + position * half_; }

 private:
  Rope rope_;
  int64_t half_ = 0, computed_ = 0;
  AlignedBuffer<float> frequency_, cosine_, sine_;
};

}  // namespace edgeq
