// SPDX-License-Identifier: Apache-2.0
#include "recipe/parse.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "models/target.h"
#include "recipe/parse_prune.h"
#include "recipe/parse_training.h"
#include "recipe/prune.h"
#include "recipe/tuning.h"
#include "recipe/yaml_reader.h"

namespace edgeq {
namespace {

using Reader = YamlReader;

DType parse_keep(const Reader& reader, const YAML::Node& node) {
  const std::string text = reader.scalar(node, "keep");
  if (text == "f32") return DType::f32;
  if (text == "f16") return DType::f16;
  if (text == "bf16") return DType::bf16;
  reader.fail(node.Mark(), fmt::format("keep is \"{}\"; expected f32, f16 or bf16", text));
}

Options parse_options(const Reader& reader, const YAML::Node& node, std::string_view what) {
  if (!node.IsMap()) reader.fail(node.Mark(), fmt::format("{} is not a map of keys and values", what));
  Options options;
  for (const auto& entry : node)
    options.set(reader.scalar(entry.first, "a key"), reader.scalar(entry.second, "an option"));
  return options;
}

Rule parse_rule(const Reader& reader, const YAML::Node& node) {
  Rule rule;
  rule.line = node.Mark().line + 1;
  reader.map(node, "a rule",
             {{"match", [&](const YAML::Node& n) { rule.match = reader.scalar(n, "match"); }},
              {"keep", [&](const YAML::Node& n) { rule.keep = parse_keep(reader, n); }},
              {"quantizer", [&](const YAML::Node& n) { rule.quantizer = reader.scalar(n, "quantizer"); }},
              {"scheme",
               [&](const YAML::Node& n) {
                 reader.one_or_list(n, "scheme", [&](const YAML::Node& one) {
                   const std::string text = reader.scalar(one, "scheme");
                   rule.schemes.push_back(reader.at(one, [&] { return parse_scheme(text); }));
                 });
               }},
              {"options", [&](const YAML::Node& n) { rule.options = parse_options(reader, n, "options"); }},
              {"refine",
               [&](const YAML::Node& n) {
                 reader.list(n, "refine", [&](const YAML::Node& name) {
                   rule.refine.push_back(reader.scalar(name, "a refiner"));
                 });
               }},
              {"correct", [&](const YAML::Node& n) { rule.correct = parse_options(reader, n, "correct"); }}});
  if (rule.match.empty())
    reader.fail(node.Mark(), "a rule has no match; expected a pattern such as \"*.down_proj\"");
  const bool quantizes = !rule.quantizer.empty() && !rule.schemes.empty();
  if (rule.keep && (!rule.schemes.empty() || !rule.quantizer.empty()))
    reader.fail(node.Mark(), "a rule has both keep and quantizer or scheme; expected one or the other");
  if (rule.keep && (rule.correct || !rule.refine.empty()))
    reader.fail(node.Mark(), "a rule has both keep and correct or refine, which are for what is quantized");
  if (!rule.keep && !quantizes)
    reader.fail(node.Mark(), "a rule says neither keep nor quantizer and scheme; expected one of the two");
  return rule;
}

// `smooth`, or `smooth: {alpha: 0.7}`.
TransformSpec parse_transform(const Reader& reader, const YAML::Node& node) {
  TransformSpec spec;
  spec.line = node.Mark().line + 1;
  if (!node.IsMap()) {
    spec.name = reader.scalar(node, "a transform");
    return spec;
  }
  if (node.size() != 1)
    reader.fail(node.Mark(),
                fmt::format("a transform has {} names; expected one, with its options", node.size()));
  spec.name = reader.scalar(node.begin()->first, "a transform");
  spec.options = parse_options(reader, node.begin()->second, spec.name);
  return spec;
}

// One text or a list of them, each a path, `default` or `self`.
std::vector<std::string> parse_calibration_texts(const Reader& reader, const YAML::Node& node) {
  std::vector<std::string> texts;
  reader.one_or_list(node, "corpus", [&](const YAML::Node& text) {
    const std::string name = reader.scalar(text, "corpus");
    texts.push_back(name == kDefaultCorpus || name == kSelfCorpus ? name : reader.path(text, "corpus"));
  });
  if (texts.empty()) reader.fail(node.Mark(), "corpus is an empty list; expected at least one text");
  return texts;
}

Budget parse_budget_map(const Reader& reader, const YAML::Node& node) {
  Budget budget;
  reader.map(node, "budget",
             {{"bytes",
               [&](const YAML::Node& n) {
                 const std::string text = reader.scalar(n, "bytes");
                 budget.bytes = reader.at(n, [&] { return parse_bytes(text); });
               }},
              {"bits_per_weight", [&](const YAML::Node& n) {
                 const std::string text = reader.scalar(n, "bits_per_weight");
                 budget.bits_per_weight = reader.at(n, [&] { return parse_bits_per_weight(text); });
               }}});
  if ((budget.bytes != 0) == (budget.bits_per_weight != 0))
    reader.fail(node, "budget needs one of bytes and bits_per_weight, such as {bytes: 80MB}");
  return budget;
}

CalibrationSpec parse_calibration(const Reader& reader, const YAML::Node& node) {
  CalibrationSpec spec;
  std::optional<Observer> observer;
  reader.map(node, "calibration",
             {{"corpus", [&](const YAML::Node& n) { spec.corpus = parse_calibration_texts(reader, n); }},
              {"windows", [&](const YAML::Node& n) { spec.windows = reader.count(n, "windows", 1); }},
              {"tokens", [&](const YAML::Node& n) { spec.tokens = reader.count(n, "tokens", 2); }},
              {"inputs",
               [&](const YAML::Node& n) {
                 const std::string text = reader.scalar(n, "inputs");
                 spec.inputs = reader.at(n, [&] { return parse_activations(text); });
               }},
              {"observer",
               [&](const YAML::Node& n) {
                 const std::string text = reader.scalar(n, "observer");
                 observer = reader.at(n, [&] { return parse_observer(text); });
               }},
              {"statistics", [&](const YAML::Node& n) { spec.statistics = reader.path(n, "statistics"); }}});
  if (observer && spec.inputs != Activations::int8_static)
    reader.fail(node, fmt::format("an observer fixes scales of inputs: int8_static; here they are {}",
                                  activations_text(spec.inputs)));
  spec.observer = observer.value_or(spec.observer);
  return spec;
}

TrainingSpec parse_heal(const Reader& reader, const YAML::Node& node) {
  TrainingSpec spec;
  reader.map(node, "heal", training_fields(reader, spec));
  check_training(reader, node, spec, true);
  return spec;
}

ProofSpec parse_proof(const Reader& reader, const YAML::Node& node) {
  ProofSpec spec;
  reader.map(
      node, "prove",
      {{"corpus", [&](const YAML::Node& n) { spec.corpus = reader.path(n, "corpus"); }},
       {"windows", [&](const YAML::Node& n) { spec.windows = reader.count(n, "windows", 0); }},
       {"context", [&](const YAML::Node& n) { spec.context = reader.count(n, "context", 2); }},
       {"prompt_tokens",
        [&](const YAML::Node& n) { spec.prompt_tokens = reader.count(n, "prompt_tokens", 1); }},
       {"tokens", [&](const YAML::Node& n) { spec.tokens = reader.count(n, "tokens", 1); }},
       {"prompt", [&](const YAML::Node& n) { spec.prompt = reader.scalar(n, "prompt"); }},
       {"tasks",
        [&](const YAML::Node& n) {
          reader.list(n, "tasks",
                      [&](const YAML::Node& t) { spec.tasks.push_back(reader.path(t, "tasks")); });
        }},
       {"task_items", [&](const YAML::Node& n) { spec.task_items = reader.count(n, "task_items", 0); }}});
  return spec;
}

Recipe read_recipe(const Reader& reader, const YAML::Node& root) {
  Recipe recipe;
  reader.map(
      root, "the recipe",
      {{"title", [&](const YAML::Node& n) { recipe.title = reader.scalar(n, "title"); }},
       {"model", [&](const YAML::Node& n) { recipe.model = reader.path(n, "model"); }},
       {"output", [&](const YAML::Node& n) { recipe.output = reader.path(n, "output"); }},
       {"for",
        [&](const YAML::Node& n) {
          const std::string text = reader.scalar(n, "for");
          recipe.target = reader.at(n, [&] { return parse_target(text)->name(); });
        }},
       {"kv",
        [&](const YAML::Node& n) {
          const std::string text = reader.scalar(n, "kv");
          recipe.kv = reader.at(n, [&] { return parse_kv_scheme(text); });
        }},
       {"prune", [&](const YAML::Node& n) { recipe.prune = parse_prune(reader, n); }},
       {"heal", [&](const YAML::Node& n) { recipe.heal = parse_heal(reader, n); }},
       {"calibration", [&](const YAML::Node& n) { recipe.calibration = parse_calibration(reader, n); }},
       {"transforms",
        [&](const YAML::Node& n) {
          reader.list(n, "transforms",
                      [&](const YAML::Node& t) { recipe.transforms.push_back(parse_transform(reader, t)); });
        }},
       {"rules",
        [&](const YAML::Node& n) {
          reader.list(n, "rules",
                      [&](const YAML::Node& r) { recipe.rules.push_back(parse_rule(reader, r)); });
        }},
       {"budget", [&](const YAML::Node& n) { recipe.budget = parse_budget_map(reader, n); }},
       {"tune",
        [&](const YAML::Node& n) {
          recipe.tune = parse_options(reader, n, "tune");
          reader.at(n, [&] { return make_tuning(*recipe.tune); });
        }},
       {"prove", [&](const YAML::Node& n) { recipe.prove = parse_proof(reader, n); }},
       {"compare", [&](const YAML::Node& n) {
          reader.list(n, "compare",
                      [&](const YAML::Node& r) { recipe.compare.push_back(reader.scalar(r, "compare")); });
        }}});
  if (recipe.heal && !recipe.prune)
    reader.fail(
        root, "heal trains what prune has cut, and there is no prune; to train another model: edgeq distill");
  if (recipe.heal) reader.at(root, [&] { check_healable(*recipe.prune); });
  if (recipe.rules.empty())
    reader.fail(root.Mark(), "no rules; expected at least one, such as {match: \"*\", ...}");
  return recipe;
}

}  // namespace

Recipe parse_recipe(std::string_view yaml, const std::string& file) {
  const std::filesystem::path path(file);
  const Reader reader("recipe", file);
  const YAML::Node root = reader.load(yaml);
  Recipe recipe = read_recipe(reader, root);
  recipe.name = path.stem().string();
  if (recipe.title.empty()) recipe.title = recipe.name;
  recipe.text = yaml;
  return recipe;
}

Recipe load_recipe(const std::string& path_or_name) {
  const auto& known = builtin_recipes();
  const auto found =
      std::find_if(known.begin(), known.end(), [&](const auto& r) { return r.name == path_or_name; });
  if (found != known.end()) return parse_recipe(found->yaml, path_or_name);
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path_or_name, ignored)) {
    std::vector<std::string_view> names;
    for (const auto& r : known) names.push_back(r.name);
    throw Error(fmt::format("recipe {}: neither a file nor built in; the built-in ones are {}", path_or_name,
                            fmt::join(names, ", ")));
  }
  return parse_recipe(read_yaml_file("recipe", path_or_name), path_or_name);
}

}  // namespace edgeq
