// SPDX-License-Identifier: Apache-2.0
// The two orders in which the rows of a rotary projection lie. Ours is half-split: within a head of d rows,
// row i turns with row i + d/2. GGUF files of architecture llama are interleaved: row 2i turns with row 2i
// + 1. Our row s*d/2 + i is theirs 2i + s. Scales and zeros are per row, so codes move with their rows
// unchanged.
#pragma once

#include <cstdint>

#include "core/quantized_tensor.h"
#include "core/tensor.h"

namespace edgeq {

// Where our row lies in interleaved order, and the inverse. head_dim 0: no rotation, rows stay.
int64_t interleaved_row(int64_t half_split_row, int64_t head_dim);
int64_t half_split_row(int64_t interleaved_row, int64_t head_dim);

// From our order to the interleaved one. A vector's elements count as its rows.
Tensor to_interleaved(Tensor ours, int64_t head_dim);
QuantizedTensor to_interleaved(QuantizedTensor ours, int64_t head_dim);

}  // namespace edgeq
