// SPDX-License-Identifier: Apache-2.0
#include "models/torch/llama.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <bit>
#include <string>
#include <string_view>

#include "core/error.h"

namespace edgeq {
namespace {

// Up to here one matrix-vector product per token beats a matrix product, which repacks the whole weight.
constexpr int64_t kFewTokens = 4;
// Output rows per slice: at least kSliceRows, in a power of two of slices up to kMaxSlices.
constexpr int64_t kSliceRows = 128, kMaxSlices = 64;

int64_t slice_count(int64_t out) {
  return std::min(kMaxSlices, int64_t(std::bit_floor(uint64_t(std::max<int64_t>(1, out / kSliceRows)))));
}

// y[:, slice] = x weight[slice]^T, slice by slice.
at::Tensor sliced_product(const at::Tensor& x, const at::Tensor& weight) {
  const int64_t tokens = x.size(0), out = weight.size(0), slices = slice_count(out);
  at::Tensor y = at::empty({tokens, out}, at::kFloat);
  for_each_slice(slices, tokens * weight.numel(), [&](int64_t i) {
    const int64_t first = out * i / slices, count = out * (i + 1) / slices - first;
    const at::Tensor rows = weight.narrow(0, first, count);
    at::Tensor part = y.narrow(1, first, count);
    if (tokens > kFewTokens) {
      at::mm_out(part, x, rows.t());
      return;
    }
    for (int64_t t = 0; t < tokens; ++t) {
      at::Tensor row = part.select(0, t);
      at::mv_out(row, rows, x.select(0, t));
    }
  });
  return y;
}

// Makes room for `more` tokens; what is already there is kept.
void reserve(KeyValues& past, int64_t kv_heads, int64_t head_dim, int64_t more) {
  const int64_t needed = past.length + more;
  const int64_t capacity = past.keys.defined() ? past.keys.size(1) : 0;
  if (needed <= capacity) return;
  const int64_t grown = std::max(needed, 2 * capacity);
  for (at::Tensor* store : {&past.keys, &past.values}) {
    at::Tensor larger = at::empty({kv_heads, grown, head_dim}, at::kFloat);
    if (past.length > 0) larger.narrow(1, 0, past.length).copy_(store->narrow(1, 0, past.length));
    *store = std::move(larger);
  }
}

void append(KeyValues& past, const at::Tensor& keys, const at::Tensor& values) {
  const int64_t tokens = keys.size(1);
  reserve(past, keys.size(0), keys.size(2), tokens);
  past.keys.narrow(1, past.length, tokens).copy_(keys);
  past.values.narrow(1, past.length, tokens).copy_(values);
  past.length += tokens;
}

Linear linear_of(const Block& block, std::string_view part) {
  for (const Site& site : block.sites)
    if (site.name.ends_with(part)) return {view_of(site.weight), view_of(site.bias)};
  throw Error("block " + std::to_string(block.index) + " has no site " + std::string(part));
}

at::Tensor other_of(const Block& block, std::string_view part) {
  for (const NamedTensor& other : block.others)
    if (other.name.ends_with(part)) return view_of(other.tensor);
  return {};
}

}  // namespace

at::Tensor view_of(const Tensor& tensor) {
  if (tensor.empty()) return {};
  return at::from_blob(const_cast<float*>(tensor.f32()), tensor.shape(), at::kFloat);
}

LayerWeights weights_of(const Block& block) {
  return {.q = linear_of(block, ".q_proj"),
          .k = linear_of(block, ".k_proj"),
          .v = linear_of(block, ".v_proj"),
          .o = linear_of(block, ".o_proj"),
          .gate = linear_of(block, ".gate_proj"),
          .up = linear_of(block, ".up_proj"),
          .down = linear_of(block, ".down_proj"),
          .attn_norm = other_of(block, ".attn_norm"),
          .mlp_norm = other_of(block, ".mlp_norm"),
          .q_norm = other_of(block, ".q_norm"),
          .k_norm = other_of(block, ".k_norm")};
}

at::Tensor linear(const at::Tensor& x, const Linear& layer) {
  if (c10::GradMode::is_enabled()) return at::linear(x, layer.weight, layer.bias);
  at::Tensor y = sliced_product(x, layer.weight);
  return layer.bias.defined() ? y.add_(layer.bias) : y;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon) {
  return x * at::rsqrt(at::mean(x * x, -1, true) + epsilon) * gain;
}

Llama::Llama(const ModelConfig& config)
    : config_(config), rotary_(config.rope_theta, config.rope_divisors, config.layers.at(0).head_dim) {}

at::Tensor Llama::qkv_input(const LayerWeights& layer, const at::Tensor& hidden) const {
  return rms_norm(hidden, layer.attn_norm, config_.rms_epsilon);
}

at::Tensor Llama::o_input(const LayerWeights& layer, const LayerShape& shape, const at::Tensor& qkv_input,
                          KeyValues* past) const {
  const auto heads_of = [&](const Linear& projection, int64_t heads) {
    return linear(qkv_input, projection).view({qkv_input.size(0), heads, shape.head_dim});
  };
  at::Tensor q = heads_of(layer.q, shape.heads), k = heads_of(layer.k, shape.kv_heads);
  const at::Tensor v = heads_of(layer.v, shape.kv_heads);
  if (layer.q_norm.defined()) q = rms_norm(q, layer.q_norm, config_.rms_epsilon);
  if (layer.k_norm.defined()) k = rms_norm(k, layer.k_norm, config_.rms_epsilon);
  const int64_t first = past == nullptr ? 0 : past->length;
  q = rotary_.rotate(q, first);
  k = rotary_.rotate(k, first);
  if (past == nullptr) return attend(q, k.transpose(0, 1), v.transpose(0, 1), shape.window);
  append(*past, k.transpose(0, 1), v.transpose(0, 1));
  return attend(q, past->keys.narrow(1, 0, past->length), past->values.narrow(1, 0, past->length),
                shape.window);
}

at::Tensor Llama::gate_up_input(const LayerWeights& layer, const at::Tensor& hidden) const {
  return rms_norm(hidden, layer.mlp_norm, config_.rms_epsilon);
}

at::Tensor Llama::down_input(const LayerWeights& layer, const at::Tensor& gate_up_input) const {
  return at::silu(linear(gate_up_input, layer.gate)) * linear(gate_up_input, layer.up);
}

at::Tensor Llama::block(const LayerWeights& layer, const LayerShape& shape, const at::Tensor& hidden,
                        KeyValues* past) const {
  const at::Tensor attended = hidden + linear(o_input(layer, shape, qkv_input(layer, hidden), past), layer.o);
  return attended + linear(down_input(layer, gate_up_input(layer, attended)), layer.down);
}

at::Tensor Llama::head_input(const at::Tensor& gain, const at::Tensor& hidden) const {
  return rms_norm(hidden, gain, config_.rms_epsilon);
}

}  // namespace edgeq
