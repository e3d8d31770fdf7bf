// SPDX-License-Identifier: Apache-2.0
#include "models/sites.h"

#include "models/names.h"

namespace edgeq {
namespace {

void add_norm(std::vector<VectorShape>& vectors, const std::string& name, const ModelConfig& config) {
  vectors.push_back({name, config.hidden});
  if (config.norm == NormKind::layer) vectors.push_back({name + ".bias", config.hidden});
}

}  // namespace

std::vector<SiteShape> layer_sites(const ModelConfig& config, int64_t layer) {
  const LayerShape& shape = config.layers[size_t(layer)];
  const int64_t hidden = config.hidden, q = shape.heads * shape.head_dim,
                kv = shape.kv_heads * shape.head_dim;
  std::vector<SiteShape> sites = {
      {layer_site(layer, "attn.q_proj"), q, hidden, config.qkv_bias},
      {layer_site(layer, "attn.k_proj"), kv, hidden, config.qkv_bias},
      {layer_site(layer, "attn.v_proj"), kv, hidden, config.qkv_bias},
      {layer_site(layer, "attn.o_proj"), hidden, q, config.o_bias},
  };
  if (config.gated_mlp)
    sites.push_back({layer_site(layer, "mlp.gate_proj"), shape.ffn, hidden, config.mlp_bias});
  sites.push_back({layer_site(layer, "mlp.up_proj"), shape.ffn, hidden, config.mlp_bias});
  sites.push_back({layer_site(layer, "mlp.down_proj"), hidden, shape.ffn, config.mlp_bias});
  return sites;
}

std::vector<SiteShape> all_sites(const ModelConfig& config) {
  std::vector<SiteShape> sites = {{"embedding", config.vocab, config.hidden}};
  for (size_t layer = 0; layer < config.layers.size(); ++layer)
    for (SiteShape& site : layer_sites(config, int64_t(layer))) sites.push_back(std::move(site));
  if (!config.tied_head) sites.push_back({"head", config.vocab, config.hidden});
  return sites;
}

std::vector<VectorShape> layer_norms(const ModelConfig& config, int64_t layer) {
  const LayerShape& shape = config.layers[size_t(layer)];
  std::vector<VectorShape> norms;
  const auto add = [&](std::string_view part) { add_norm(norms, layer_site(layer, part), config); };
  if (config.pre_norm) add("attn_norm");
  if (config.qk_norm) {
    const bool joint = config.joint_qk_norm;
    norms.push_back({layer_site(layer, "attn.q_norm"), (joint ? shape.heads : 1) * shape.head_dim});
    norms.push_back({layer_site(layer, "attn.k_norm"), (joint ? shape.kv_heads : 1) * shape.head_dim});
  }
  if (config.post_norm) add("attn_post_norm");
  if (config.pre_norm && config.residual != Residual::parallel_shared) add("mlp_norm");
  if (config.post_norm) add("mlp_post_norm");
  return norms;
}

std::vector<VectorShape> end_vectors(const ModelConfig& config) {
  std::vector<VectorShape> vectors;
  add_norm(vectors, "final_norm", config);
  if (config.learned_positions)
    vectors.push_back({"positions", config.context * config.hidden, config.hidden});
  return vectors;
}

std::vector<VectorShape> all_vectors(const ModelConfig& config) {
  std::vector<VectorShape> vectors;
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    for (VectorShape& norm : layer_norms(config, int64_t(layer))) vectors.push_back(std::move(norm));
    for (const SiteShape& site : layer_sites(config, int64_t(layer)))
      if (site.bias) vectors.push_back({site.name + ".bias", site.rows});
  }
  for (VectorShape& vector : end_vectors(config)) vectors.push_back(std::move(vector));
  return vectors;
}

}  // namespace edgeq
