// SPDX-License-Identifier: Apache-2.0
// The mathematics of a decoder block (models/config.h), written once and differentiable: both the walk that
// calibration takes and the language model are made of these functions.
// While autograd is off, work is cut into slices of fixed size that run on up to thread_count() threads with
// one BLAS thread each.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "models/activations.h"
#include "models/block.h"
#include "models/config.h"
#include "models/token.h"
#include "models/torch/attention.h"

namespace edgeq {

// y = x weight^T + bias. weight [out, in]; bias [out] or undefined.
struct LinearTensors {
  at::Tensor weight, bias;
  bool bf16 = false;                      // operands and product rounded to it
  Activations inputs = Activations::f32;  // x rounded first: as rounded_inputs()
};

// gain [n] or undefined: x stays as it is. bias [n] or undefined (NormKind::rms).
struct NormTensors {
  at::Tensor gain, bias;
};

struct LayerTensors {
  LinearTensors q, k, v, o, gate, up, down;  // gate: undefined where there is none
  NormTensors attn_norm, attn_post_norm, mlp_norm, mlp_post_norm;
  NormTensors q_norm, k_norm;
};

// Keys (rotated) and values of the tokens so far: [kv_heads, capacity, head_dim], `length` of them in use.
struct KeyValues {
  at::Tensor keys, values;
  int64_t length = 0;
  int64_t room = 0;  // tokens that the sequence may grow to (rope_of)
};

// f32 elements of `tensor` without a copy: it must outlive the result. Undefined for an empty tensor.
at::Tensor view_of(const Tensor& tensor);
// A copy, f32.
Tensor tensor_of(const at::Tensor& values);
// Where the weight of a site ("layers.<block>.attn.q_proj") stands in its layer.
LinearTensors& linear_of(LayerTensors& layer, int block, std::string_view site);
// Where one of Block::others stands in its layer.
at::Tensor& vector_of(LayerTensors& layer, int block, std::string_view name);
// The weights of a block, as views.
LayerTensors weights_of(const Block& block);
NormTensors final_norm_of(const Ends& ends);

// Whether the CPU multiplies bf16 by instructions of its own: without them LibTorch goes element by element.
bool has_bf16_products();

// x as integer kernels read it (models/round_inputs.h); gradients pass as if it had not been rounded
// (straight-through). int8_static, whose scales are given, is none of these.
at::Tensor rounded_inputs(const at::Tensor& x, Activations inputs);

// x [tokens, in] -> [tokens, out].
at::Tensor linear(const at::Tensor& x, const LinearTensors& layer);
// x / sqrt(mean(x^2) + epsilon) * gain over the last dimension.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon);

class Decoder {
 public:
  explicit Decoder(const ModelConfig& config);
  const ModelConfig& config() const { return config_; }

  // Embedded tokens [tokens, hidden]; the first stands at position `first`. table [vocab, hidden]; positions
  // [context, hidden] where they are learned.
  at::Tensor embed(const Ends& ends, std::span<const TokenId> tokens, int64_t first) const;
  at::Tensor embed(const at::Tensor& table, const at::Tensor& positions, std::span<const TokenId> tokens,
                   int64_t first) const;

  // What the sites of each stage read, [tokens, in].
  at::Tensor qkv_input(const LayerTensors& layer, const at::Tensor& hidden) const;
  // `past`: the tokens before these, to which these are appended; nullptr for a whole sequence in one call.
  at::Tensor o_input(const LayerTensors& layer, const LayerShape& shape, const at::Tensor& qkv_input,
                     KeyValues* past) const;
  at::Tensor up_input(const LayerTensors& layer, const at::Tensor& hidden) const;
  at::Tensor down_input(const LayerTensors& layer, const at::Tensor& up_input) const;

  // What attention and feed-forward add to the residual stream.
  at::Tensor attention_update(const LayerTensors& layer, const at::Tensor& o_input) const;
  at::Tensor mlp_update(const LayerTensors& layer, const at::Tensor& down_input) const;

  // One block over the residual stream [tokens, hidden].
  at::Tensor block(const LayerTensors& layer, const LayerShape& shape, const at::Tensor& hidden,
                   KeyValues* past) const;
  // The same from what its output projection reads.
  at::Tensor rest_of_block(const LayerTensors& layer, const at::Tensor& hidden,
                           const at::Tensor& o_input) const;
  // What the head reads.
  at::Tensor head_input(const Ends& ends, const at::Tensor& hidden) const;
  at::Tensor head_input(const NormTensors& final_norm, const at::Tensor& hidden) const;
  at::Tensor logits(const Ends& ends, const at::Tensor& head_input) const;
  at::Tensor logits(const LinearTensors& head, const at::Tensor& head_input) const;

 private:
  at::Tensor norm(const at::Tensor& x, const NormTensors& norm) const;
  const Rotary& rotary(const LayerShape& shape, int64_t room) const;

  ModelConfig config_;
  std::vector<std::unique_ptr<Rotary>> rotaries_;  // one for each Rope that the layers have
};

}  // namespace edgeq
