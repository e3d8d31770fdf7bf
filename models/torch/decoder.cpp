// SPDX-License-Identifier: Apache-2.0
#include "models/torch/decoder.h"

#include <ATen/Context.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "models/names.h"
#include "models/round_inputs.h"

namespace edgeq {
namespace {

// Up to here one matrix-vector product per token beats a matrix product, which repacks the whole weight.
constexpr int64_t kFewTokens = 4;
// Output rows per slice: at least kSliceRows, in a power of two of slices up to kMaxSlices.
constexpr int64_t kSliceRows = 128, kMaxSlices = 64;
constexpr std::string_view kBias = ".bias";

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

at::Tensor find(const std::vector<NamedTensor>& tensors, std::string_view name) {
  for (const NamedTensor& tensor : tensors)
    if (tensor.name == name) return view_of(tensor.tensor);
  return {};
}

}  // namespace

at::Tensor view_of(const Tensor& tensor) {
  if (tensor.empty()) return {};
  return at::from_blob(const_cast<float*>(tensor.f32()), tensor.shape(), at::kFloat);
}

Tensor tensor_of(const at::Tensor& values) {
  const at::Tensor packed = values.contiguous();
  Tensor out(DType::f32, packed.sizes().vec());
  std::memcpy(out.data(), packed.data_ptr<float>(), size_t(out.bytes()));
  return out;
}

LinearTensors& linear_of(LayerTensors& layer, int block, std::string_view site) {
  static constexpr std::pair<std::string_view, LinearTensors LayerTensors::*> kParts[] = {
      {"attn.q_proj", &LayerTensors::q},      {"attn.k_proj", &LayerTensors::k},
      {"attn.v_proj", &LayerTensors::v},      {"attn.o_proj", &LayerTensors::o},
      {"mlp.gate_proj", &LayerTensors::gate}, {"mlp.up_proj", &LayerTensors::up},
      {"mlp.down_proj", &LayerTensors::down}};
  const auto part =
      std::ranges::find_if(kParts, [&](const auto& p) { return site == layer_site(block, p.first); });
  EDGEQ_CHECK(part != std::end(kParts), "every site of a block is one of its products");
  return layer.*(part->second);
}

at::Tensor& vector_of(LayerTensors& layer, int block, std::string_view name) {
  static constexpr std::pair<std::string_view, NormTensors LayerTensors::*> kParts[] = {
      {"attn_norm", &LayerTensors::attn_norm}, {"attn_post_norm", &LayerTensors::attn_post_norm},
      {"mlp_norm", &LayerTensors::mlp_norm},   {"mlp_post_norm", &LayerTensors::mlp_post_norm},
      {"attn.q_norm", &LayerTensors::q_norm},  {"attn.k_norm", &LayerTensors::k_norm}};
  const bool bias = name.ends_with(kBias);
  const std::string_view gain = name.substr(0, name.size() - (bias ? kBias.size() : 0));
  const auto part =
      std::ranges::find_if(kParts, [&](const auto& p) { return gain == layer_site(block, p.first); });
  EDGEQ_CHECK(part != std::end(kParts), "every vector of a block is one of its norms");
  NormTensors& norm = layer.*(part->second);
  return bias ? norm.bias : norm.gain;
}

LayerTensors weights_of(const Block& block) {
  LayerTensors layer;
  for (const Site& site : block.sites)
    linear_of(layer, block.index, site.name) = {.weight = view_of(site.weight), .bias = view_of(site.bias)};
  for (const NamedTensor& vector : block.others)
    vector_of(layer, block.index, vector.name) = view_of(vector.tensor);
  return layer;
}

NormTensors final_norm_of(const Ends& ends) {
  return {find(ends.others, "final_norm"), find(ends.others, "final_norm.bias")};
}

bool has_bf16_products() {
#if defined(__x86_64__)
  return at::globalContext().hasMKLDNN() && __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

at::Tensor rounded_inputs(const at::Tensor& x, Activations inputs) {
  if (inputs == Activations::f32) return x;
  const at::Tensor plain = x.detach();
  at::Tensor rounded = plain.clone(at::MemoryFormat::Contiguous);
  const int64_t cols = rounded.size(-1);
  round_inputs({rounded.data_ptr<float>(), rounded.numel() / cols, cols}, inputs);
  return c10::GradMode::is_enabled() ? rounded + (x - plain) : rounded;
}

at::Tensor linear(const at::Tensor& read, const LinearTensors& layer) {
  const at::Tensor x = rounded_inputs(read, layer.inputs);
  if (layer.bf16) {
    const at::Tensor y = at::linear(x.to(at::kBFloat16), layer.weight.to(at::kBFloat16)).to(at::kFloat);
    return layer.bias.defined() ? y + layer.bias : y;
  }
  if (c10::GradMode::is_enabled()) return at::linear(x, layer.weight, layer.bias);
  at::Tensor y = sliced_product(x, layer.weight);
  return layer.bias.defined() ? y.add_(layer.bias) : y;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon) {
  return x * at::rsqrt(at::mean(x * x, -1, true) + epsilon) * gain;
}

Decoder::Decoder(const ModelConfig& config) : config_(config) {
  for (const LayerShape& shape : config_.layers) {
    for (const int64_t room : {int64_t(0), std::numeric_limits<int64_t>::max()}) {
      Rope rope = rope_of(config_, shape, room);
      const auto same = [&](const auto& rotary) { return rotary->rope() == rope; };
      if (std::ranges::none_of(rotaries_, same))
        rotaries_.push_back(std::make_unique<Rotary>(std::move(rope)));
    }
  }
}

const Rotary& Decoder::rotary(const LayerShape& shape, int64_t room) const {
  const Rope rope = rope_of(config_, shape, room);
  return **std::ranges::find_if(rotaries_, [&](const auto& rotary) { return rotary->rope() == rope; });
}

at::Tensor Decoder::norm(const at::Tensor& x, const NormTensors& norm) const {
  if (!norm.gain.defined()) return x;
  if (!norm.bias.defined()) return rms_norm(x, norm.gain, config_.norm_epsilon);
  return rms_norm(x - at::mean(x, -1, true), norm.gain, config_.norm_epsilon) + norm.bias;
}

at::Tensor Decoder::embed(const Ends& ends, std::span<const TokenId> tokens, int64_t first) const {
  const at::Tensor positions = find(ends.others, "positions");
  return embed(view_of(ends.embedding.weight),
               positions.defined() ? positions.view({-1, config_.hidden}) : positions, tokens, first);
}

at::Tensor Decoder::embed(const at::Tensor& table, const at::Tensor& positions,
                          std::span<const TokenId> tokens, int64_t first) const {
  const auto count = int64_t(tokens.size());
  // A copy: the way back reads it when `tokens` may be gone.
  const at::Tensor ids = at::from_blob(const_cast<TokenId*>(tokens.data()), {count}, at::kInt).clone();
  at::Tensor hidden = at::embedding(table, ids);
  if (config_.embedding_scale != 1) hidden = hidden * config_.embedding_scale;
  if (!config_.learned_positions) return hidden;
  if (first + count > config_.context)
    throw Error(fmt::format("position {} is asked for; the model has learned {}", first + count - 1,
                            config_.context));
  return hidden + positions.narrow(0, first, count);
}

at::Tensor Decoder::qkv_input(const LayerTensors& layer, const at::Tensor& hidden) const {
  return norm(hidden, layer.attn_norm);
}

at::Tensor Decoder::o_input(const LayerTensors& layer, const LayerShape& shape, const at::Tensor& qkv_input,
                            KeyValues* past) const {
  const int64_t tokens = qkv_input.size(0);
  // A norm over all heads together comes before they are told apart, one of each head after.
  const auto heads_of = [&](const LinearTensors& projection, const NormTensors& gain, int64_t heads) {
    const at::Tensor all = linear(qkv_input, projection);
    const Shape shape_of_heads = {tokens, heads, shape.head_dim};
    return config_.joint_qk_norm ? norm(all, gain).view(shape_of_heads)
                                 : norm(all.view(shape_of_heads), gain);
  };
  const Rotary& turn = rotary(shape, past == nullptr ? tokens : past->room);
  const int64_t first = past == nullptr ? 0 : past->length;
  const at::Tensor q = turn.rotate(heads_of(layer.q, layer.q_norm, shape.heads), first);
  const at::Tensor k = turn.rotate(heads_of(layer.k, layer.k_norm, shape.kv_heads), first).transpose(0, 1);
  const at::Tensor v = heads_of(layer.v, {}, shape.kv_heads).transpose(0, 1);
  const ScoreOptions options{.scale = attention_scale_of(config_, shape),
                             .soft_cap = config_.attention_soft_cap,
                             .window = shape.window};
  if (past == nullptr) return attend(q, k, v, options);
  append(*past, k, v);
  return attend(q, past->keys.narrow(1, 0, past->length), past->values.narrow(1, 0, past->length), options);
}

at::Tensor Decoder::up_input(const LayerTensors& layer, const at::Tensor& hidden) const {
  return norm(hidden, config_.residual == Residual::parallel_shared ? layer.attn_norm : layer.mlp_norm);
}

at::Tensor Decoder::down_input(const LayerTensors& layer, const at::Tensor& up_input) const {
  const at::Tensor up = linear(up_input, layer.up);
  const at::Tensor x = config_.gated_mlp ? linear(up_input, layer.gate) : up;
  const at::Tensor active = config_.nonlinearity == Nonlinearity::silu        ? at::silu(x)
                            : config_.nonlinearity == Nonlinearity::gelu_tanh ? at::gelu(x, "tanh")
                                                                              : at::gelu(x);
  return config_.gated_mlp ? active * up : active;
}

at::Tensor Decoder::attention_update(const LayerTensors& layer, const at::Tensor& o_input) const {
  const at::Tensor update = norm(linear(o_input, layer.o), layer.attn_post_norm);
  return config_.residual_scale == 1 ? update : update * config_.residual_scale;
}

at::Tensor Decoder::mlp_update(const LayerTensors& layer, const at::Tensor& down_input) const {
  const at::Tensor update = norm(linear(down_input, layer.down), layer.mlp_post_norm);
  return config_.residual_scale == 1 ? update : update * config_.residual_scale;
}

at::Tensor Decoder::block(const LayerTensors& layer, const LayerShape& shape, const at::Tensor& hidden,
                          KeyValues* past) const {
  return rest_of_block(layer, hidden, o_input(layer, shape, qkv_input(layer, hidden), past));
}

at::Tensor Decoder::rest_of_block(const LayerTensors& layer, const at::Tensor& hidden,
                                  const at::Tensor& o_input) const {
  const at::Tensor attended = hidden + attention_update(layer, o_input);
  const at::Tensor& read = config_.residual == Residual::sequential ? attended : hidden;
  return attended + mlp_update(layer, down_input(layer, up_input(layer, read)));
}

at::Tensor Decoder::head_input(const Ends& ends, const at::Tensor& hidden) const {
  return head_input(final_norm_of(ends), hidden);
}

at::Tensor Decoder::head_input(const NormTensors& final_norm, const at::Tensor& hidden) const {
  return norm(hidden, final_norm);
}

at::Tensor Decoder::logits(const Ends& ends, const at::Tensor& head_input) const {
  const Site& head = ends.head_site();
  return logits(LinearTensors{.weight = view_of(head.weight), .bias = view_of(head.bias)}, head_input);
}

at::Tensor Decoder::logits(const LinearTensors& head, const at::Tensor& head_input) const {
  at::Tensor logits = linear(head_input, head);
  if (config_.logit_divisor != 1) logits = logits / config_.logit_divisor;
  return config_.logit_soft_cap == 0 ? logits : soft_cap(logits, config_.logit_soft_cap);
}

}  // namespace edgeq
