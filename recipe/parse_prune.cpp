// SPDX-License-Identifier: Apache-2.0
#include "recipe/parse_prune.h"

#include <yaml-cpp/yaml.h>

#include "pruning/score.h"

namespace edgeq {

PruneSpec parse_prune(const YamlReader& reader, const YAML::Node& node) {
  PruneSpec spec;
  std::optional<Sparsity> sparsity;
  std::string mask;
  const auto zeros = [&](const YAML::Node& n, const char* key, Sparsity (*parse)(std::string_view)) {
    if (sparsity) reader.fail(n, "both sparsity and nm; expected one of the two");
    const std::string text = reader.scalar(n, key);
    sparsity = reader.at(n, [&] { return parse(text); });
  };
  reader.map(node, "prune",
             {{"heads", [&](const YAML::Node& n) { spec.shares.heads = reader.positive(n, "heads", 1); }},
              {"ffn", [&](const YAML::Node& n) { spec.shares.ffn = reader.positive(n, "ffn", 1); }},
              {"blocks", [&](const YAML::Node& n) { spec.shares.blocks = reader.positive(n, "blocks", 1); }},
              {"groups", [&](const YAML::Node& n) { spec.shares.whole_groups = reader.flag(n, "groups"); }},
              {"multiple",
               [&](const YAML::Node& n) { spec.shares.channel_multiple = reader.count(n, "multiple", 1); }},
              {"sparsity", [&](const YAML::Node& n) { zeros(n, "sparsity", parse_share); }},
              {"nm", [&](const YAML::Node& n) { zeros(n, "nm", parse_pattern); }},
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
  if (!mask.empty() && !sparsity) reader.fail(node, "mask says how, but not how much; add sparsity or nm");
  if (sparsity) spec.mask = MaskSpec{.sparsity = *sparsity};
  if (!mask.empty()) spec.mask->method = mask;
  if (!spec.shares.any() && !spec.mask)
    reader.fail(
        node,
        "prune needs a share of heads, ffn or blocks, or a mask, such as {heads: 0.33} or {nm: \"2:4\"}");
  return spec;
}

}  // namespace edgeq
