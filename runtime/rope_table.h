// SPDX-License-Identifier: Apache-2.0
// Cosines and sines of the rotary embedding (Su et al., "RoFormer", 2021): a table of positions used so far
// and, for what lies beyond it, of the rows of one call.
// Dimension i of a head pairs with i + dims/2 and turns by position * theta^(-2i/dims) / divisor[i]
// (models/config.h).
#pragma once

#include <cstdint>

#include "models/config.h"
#include "runtime/aligned_buffer.h"

namespace edgeq {

class RopeTable {
 public:
  // The model was trained on positions [0, context). The table has room for [0, positions), and none is
  // computed yet; a call has at most `rows` rows.
  RopeTable(Rope rope, int64_t context, int64_t positions, int64_t rows);

  const Rope& rope() const { return rope_; }
  int64_t half() const { return half_; }
  // Computes what position `position` needs, which row `row` of the call has: all of the table up to it.
  void prepare(int64_t position, int64_t row) noexcept;

  struct Turn {
    const float *cosine, *sine;  // half() floats each
  };
  // Of a position that is prepared; the row matters beyond the table.
  Turn at(int64_t position, int64_t row) const noexcept {
    const int64_t place = (position < positions_ ? position : positions_ + row) * half_;
    return {cosine_.data() + place, sine_.data() + place};
  }

 private:
  void compute(int64_t position, int64_t place) noexcept;

  Rope rope_;
  int64_t half_ = 0, context_ = 0, positions_ = 0, computed_ = 0;
  AlignedBuffer<float> frequency_, cosine_, sine_;
};

}  // namespace edgeq
