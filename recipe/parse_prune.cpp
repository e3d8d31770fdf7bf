// SPDX-License-Identifier: Apache-2.0
#include "recipe/parse_prune.h"

#include <yaml-cpp/yaml.h>

#include "pruning/score.h"
#include "recipe/prune_options.h"

namespace edgeq {

PruneSpec parse_prune(const YamlReader& reader, const YAML::Node& node) {
  PruneSpec spec;
  std::string mask, kinds;
  std::optional<Sparsity> share, pattern;
  std::optional<SizeLimit> most;
  const auto budget = [&](const YAML::Node& n) {
    const auto limit = [&](const char* unit) {
      return [&, unit](const YAML::Node& size) {
        if (most) reader.fail(size, "a budget has one of parameters, bytes and macs");
        const std::string text = reader.scalar(size, unit);
        most = reader.at(size, [&] { return parse_size_limit(unit, text); });
      };
    };
    reader.map(n, "budget",
               {{"parameters", limit("parameters")}, {"bytes", limit("bytes")}, {"macs", limit("macs")}});
    if (!most) reader.fail(n, "budget needs one of parameters, bytes and macs, such as {parameters: 100M}");
  };
  reader.map(node, "prune",
             {{"heads", [&](const YAML::Node& n) { spec.shares.heads = reader.positive(n, "heads", 1); }},
              {"per_layer", [&](const YAML::Node& n) { spec.per_layer = reader.flag(n, "per_layer"); }},
              {"ffn", [&](const YAML::Node& n) { spec.shares.ffn = reader.positive(n, "ffn", 1); }},
              {"blocks", [&](const YAML::Node& n) { spec.shares.blocks = reader.positive(n, "blocks", 1); }},
              {"groups", [&](const YAML::Node& n) { spec.shares.whole_groups = reader.flag(n, "groups"); }},
              {"multiple",
               [&](const YAML::Node& n) { spec.shares.channel_multiple = reader.count(n, "multiple", 1); }},
              {"budget", budget},
              {"of",
               [&](const YAML::Node& n) {
                 reader.one_or_list(n, "of", [&](const YAML::Node& kind) {
                   kinds += (kinds.empty() ? "" : ",") + reader.scalar(kind, "of");
                 });
               }},
              {"vocab",
               [&](const YAML::Node& n) {
                 const std::string text = reader.scalar(n, "vocab");
                 spec.vocab = reader.at(n, [&] { return parse_vocabulary_cut(text); });
               }},
              {"sparsity",
               [&](const YAML::Node& n) {
                 const std::string text = reader.scalar(n, "sparsity");
                 share = reader.at(n, [&] { return parse_share(text); });
               }},
              {"nm",
               [&](const YAML::Node& n) {
                 const std::string text = reader.scalar(n, "nm");
                 pattern = reader.at(n, [&] { return parse_pattern(text); });
               }},
              {"mask",
               [&](const YAML::Node& n) {
                 mask = reader.scalar(n, "mask");
                 reader.at(n, [&] { mask_method(mask); });
               }},
              {"score",
               [&](const YAML::Node& n) {
                 spec.score = reader.scalar(n, "score");
                 reader.at(n, [&] { unit_score(spec.score); });
               }},
              {"block_score",
               [&](const YAML::Node& n) {
                 spec.block_score = reader.scalar(n, "block_score");
                 reader.at(n, [&] { block_score(spec.block_score); });
               }},
              {"compensate", [&](const YAML::Node& n) { spec.compensate = reader.flag(n, "compensate"); }}});
  reader.at(node, [&] {
    spec.mask = mask_spec(share, pattern, mask);
    spec.budget = prune_budget(most, kinds);
  });
  if (!spec.shares.any() && !spec.mask && !spec.budget && !spec.vocab)
    reader.fail(node,
                "prune needs a share of heads, ffn or blocks, a budget or a mask, such as {heads: 0.33} or "
                "{nm: \"2:4\"}");
  return spec;
}

}  // namespace edgeq
