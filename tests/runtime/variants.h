// SPDX-License-Identifier: Apache-2.0
// The variants of the family that the runtime's tests go through.
#pragma once

#include <string>
#include <vector>

#include "models/config.h"
#include "models/token.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {

struct Variant {
  std::string name;
  ModelConfig config;
};

inline std::vector<Variant> variants() {
  std::vector<Variant> list{{"llama", tiny_config()}};
  const auto add = [&](const char* name, auto&& change) {
    list.push_back({name, tiny_config()});
    change(list.back().config);
  };
  add("biases", [](ModelConfig& c) { c.qkv_bias = c.o_bias = c.mlp_bias = true; });
  add("qk norms", [](ModelConfig& c) { c.qk_norm = true; });
  add("untied", [](ModelConfig& c) { c.tied_head = false; });
  add("window", [](ModelConfig& c) { c.layers[1].window = 21; });
  add("rope divisors", [](ModelConfig& c) { c.rope_divisors = {1, 1, 1.5f, 2, 4, 8}; });
  add("one KV head", [](ModelConfig& c) {
    for (LayerShape& s : c.layers) s.kv_heads = 1;
  });
  add("layers of different shapes", [](ModelConfig& c) {
    c.layers[1] = {.heads = 3, .kv_heads = 3, .head_dim = 20, .ffn = 33, .window = 0};
  });
  add("post norms", [](ModelConfig& c) { c.post_norm = true; });
  add("only post norms, q and k normed together", [](ModelConfig& c) {
    c.pre_norm = false;
    c.post_norm = c.qk_norm = c.joint_qk_norm = true;
  });
  add("layer norm", [](ModelConfig& c) { c.norm = NormKind::layer; });
  add("parallel", [](ModelConfig& c) { c.residual = Residual::parallel; });
  add("parallel, one norm", [](ModelConfig& c) { c.residual = Residual::parallel_shared; });
  add("gated gelu", [](ModelConfig& c) { c.nonlinearity = Nonlinearity::gelu_tanh; });
  add("plain gelu", [](ModelConfig& c) {
    c.nonlinearity = Nonlinearity::gelu_erf;
    c.gated_mlp = false;
  });
  add("partial rotation", [](ModelConfig& c) { c.rotary_dims = 6; });
  add("local theta", [](ModelConfig& c) {
    c.local_rope_theta = 100;
    c.layers[0].window = 30;
  });
  add("long rope", [](ModelConfig& c) {
    c.rope_divisors = {1, 1, 1, 1, 1, 1};
    c.long_rope_divisors = {1, 2, 3, 4, 5, 6};
    c.original_context = 50;
    c.rope_scale = 1.2;
  });
  add("learned positions", [](ModelConfig& c) { c.learned_positions = true; });
  add("factors", [](ModelConfig& c) {
    c.embedding_scale = 3;
    c.residual_scale = 0.4;
    c.logit_divisor = 2;
    c.attention_scale = 0.2;
  });
  add("soft caps", [](ModelConfig& c) {
    c.attention_soft_cap = 4;
    c.logit_soft_cap = 6;
  });
  return list;
}

inline std::vector<TokenId> tokens_of(const ModelConfig& config, int64_t count, uint64_t seed = 5) {
  Random random(seed);
  std::vector<TokenId> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(TokenId(random.below(uint64_t(config.vocab))));
  return tokens;
}

// Logits of every token, the sequence being fed in pieces of at most `piece` tokens.
inline std::vector<std::vector<float>> feed_in_pieces(Session& session, std::span<const TokenId> tokens,
                                                      int64_t piece) {
  std::vector<std::vector<float>> logits;
  for (size_t done = 0; done < tokens.size(); done += size_t(piece)) {
    const auto part = tokens.subspan(done, std::min(size_t(piece), tokens.size() - done));
    const MatrixView<const float> rows = session.feed(part, Logits::all);
    for (int64_t r = 0; r < rows.rows; ++r) logits.emplace_back(rows.row(r), rows.row(r) + rows.cols);
  }
  return logits;
}

}  // namespace edgeq
