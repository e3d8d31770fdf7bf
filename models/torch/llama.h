// SPDX-License-Identifier: Apache-2.0
// The mathematics of a Llama-like decoder block, written once and differentiable: both the walk that
// calibration takes and the language model are made of these functions.
//   x = x + o(attend(rotate(q(n)), rotate(k(n)), v(n)))      n = rms_norm(x)
//   x = x + down(silu(gate(n)) * up(n))                       n = rms_norm(x)
// While autograd is off, work is cut into slices of fixed size that run on up to thread_count() threads with
// one BLAS thread each.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "models/block.h"
#include "models/config.h"
#include "models/torch/attention.h"

namespace edgeq {

// y = x weight^T + bias. weight [out, in]; bias [out] or undefined.
struct Linear {
  at::Tensor weight, bias;
};

struct LayerWeights {
  Linear q, k, v, o, gate, up, down;
  at::Tensor attn_norm, mlp_norm;
  at::Tensor q_norm, k_norm;  // [head_dim] or undefined
};

// Keys (rotated) and values of the tokens so far: [kv_heads, capacity, head_dim], `length` of them in use.
struct KeyValues {
  at::Tensor keys, values;
  int64_t length = 0;
};

// f32 elements of `tensor` without a copy: it must outlive the result. Undefined for an empty tensor.
at::Tensor view_of(const Tensor& tensor);
// The weights of a block, as views.
LayerWeights weights_of(const Block& block);

// x [tokens, in] -> [tokens, out].
at::Tensor linear(const at::Tensor& x, const Linear& layer);
// x / sqrt(mean(x^2) + epsilon) * gain over the last dimension.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon);

class Llama {
 public:
  explicit Llama(const ModelConfig& config);
  const ModelConfig& config() const { return config_; }

  // What the sites of each stage read, [tokens, in].
  at::Tensor qkv_input(const LayerWeights& layer, const at::Tensor& hidden) const;
  // `past`: the tokens before these, to which these are appended; nullptr for a whole sequence in one call.
  at::Tensor o_input(const LayerWeights& layer, const LayerShape& shape, const at::Tensor& qkv_input,
                     KeyValues* past) const;
  at::Tensor gate_up_input(const LayerWeights& layer, const at::Tensor& hidden) const;
  at::Tensor down_input(const LayerWeights& layer, const at::Tensor& gate_up_input) const;

  // One block over the residual stream [tokens, hidden].
  at::Tensor block(const LayerWeights& layer, const LayerShape& shape, const at::Tensor& hidden,
                   KeyValues* past) const;
  // What the head reads. gain: the model's final norm.
  at::Tensor head_input(const at::Tensor& gain, const at::Tensor& hidden) const;

 private:
  ModelConfig config_;
  Rotary rotary_;
};

}  // namespace edgeq
