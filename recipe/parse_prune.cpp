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
  const auto budget = [&](const YAML::Node& n) {
    const auto limit = [&](const char* unit) {
      return [&, unit](const YAML::Node& most) {
        if (spec.budget) reader.fail(most, "a budget has one of parameters, bytes and macs");
        const std::string text = reader.scalar(most, unit);
        spec.budget =
            PruneBudget{.limit = reader.at(most, [&] { return parse_size_limit(unit, text); }), .of = {}};
      };
    };
    reader.map(n, "budget",
               {{"parameters", limit("parameters")}, {"bytes", limit("bytes")}, {"macs", limit("macs")}});
    if (!spec.budget)
      reader.fail(n, "budget needs one of parameters, bytes and macs, such as {parameters: 100M}");
  };
  std::string kinds;
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
  if (spec.per_layer && spec.shares.heads == 0)
    reader.fail(node, "per_layer shares out heads, and there is no share of them, such as heads: 0.4");
  if (spec.per_layer && spec.budget)
    reader.fail(
        node, "per_layer shares out the share of heads, and a budget finds its own; expected one of the two");
  if (!mask.empty() && !sparsity) reader.fail(node, "mask says how, but not how much; add sparsity or nm");
  if (sparsity) spec.mask = MaskSpec{.sparsity = *sparsity};
  if (!mask.empty()) spec.mask->method = mask;
  if (!kinds.empty() && !spec.budget) reader.fail(node, "of says what a budget may cut, and there is none");
  if (!kinds.empty()) spec.budget->of = reader.at(node, [&] { return parse_unit_kinds(kinds); });
  if (!spec.shares.any() && !spec.mask && !spec.budget && !spec.vocab)
    reader.fail(node,
                "prune needs a share of heads, ffn or blocks, a budget or a mask, such as {heads: 0.33} or "
                "{nm: \"2:4\"}");
  return spec;
}

}  // namespace edgeq
