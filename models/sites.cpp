// SPDX-License-Identifier: Apache-2.0
#include "models/sites.h"

#include "models/names.h"

namespace edgeq {

std::vector<SiteShape> layer_sites(const ModelConfig& config, int64_t layer) {
  const LayerShape& shape = config.layers[size_t(layer)];
  const int64_t hidden = config.hidden, q = shape.heads * shape.head_dim,
                kv = shape.kv_heads * shape.head_dim;
  return {
      {layer_site(layer, "attn.q_proj"), q, hidden, config.qkv_bias},
      {layer_site(layer, "attn.k_proj"), kv, hidden, config.qkv_bias},
      {layer_site(layer, "attn.v_proj"), kv, hidden, config.qkv_bias},
      {layer_site(layer, "attn.o_proj"), hidden, q, config.o_bias},
      {layer_site(layer, "mlp.gate_proj"), shape.ffn, hidden, config.mlp_bias},
      {layer_site(layer, "mlp.up_proj"), shape.ffn, hidden, config.mlp_bias},
      {layer_site(layer, "mlp.down_proj"), hidden, shape.ffn, config.mlp_bias},
  };
}

std::vector<SiteShape> all_sites(const ModelConfig& config) {
  std::vector<SiteShape> sites = {{"embedding", config.vocab, config.hidden}};
  for (size_t layer = 0; layer < config.layers.size(); ++layer)
    for (SiteShape& site : layer_sites(config, int64_t(layer))) sites.push_back(std::move(site));
  if (!config.tied_head) sites.push_back({"head", config.vocab, config.hidden});
  return sites;
}

std::vector<VectorShape> layer_norms(const ModelConfig& config, int64_t layer) {
  std::vector<VectorShape> norms = {{layer_site(layer, "attn_norm"), config.hidden}};
  if (config.qk_norm) {
    const int64_t head_dim = config.layers[size_t(layer)].head_dim;
    norms.push_back({layer_site(layer, "attn.q_norm"), head_dim});
    norms.push_back({layer_site(layer, "attn.k_norm"), head_dim});
  }
  norms.push_back({layer_site(layer, "mlp_norm"), config.hidden});
  return norms;
}

std::vector<VectorShape> all_vectors(const ModelConfig& config) {
  std::vector<VectorShape> vectors;
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    for (VectorShape& norm : layer_norms(config, int64_t(layer))) vectors.push_back(std::move(norm));
    for (const SiteShape& site : layer_sites(config, int64_t(layer)))
      if (site.bias) vectors.push_back({site.name + ".bias", site.rows});
  }
  vectors.push_back({"final_norm", config.hidden});
  return vectors;
}

}  // namespace edgeq
