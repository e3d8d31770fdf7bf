// SPDX-License-Identifier: Apache-2.0
#include "recipe/parse_training.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

namespace edgeq {
namespace {

// One path or a list of them.
std::vector<std::string> paths(const YamlReader& reader, const YAML::Node& node, std::string_view what) {
  std::vector<std::string> found;
  reader.one_or_list(node, what, [&](const YAML::Node& one) { found.push_back(reader.path(one, what)); });
  return found;
}

// `0.3`, or `[1, 0.1]`: from the first step to the last.
void parse_weight(const YamlReader& reader, const YAML::Node& node, LossTerm& term) {
  if (!node.IsSequence()) {
    term.weight = term.final_weight = reader.number(node, "weight");
    return;
  }
  if (node.size() != 2)
    reader.fail(node, "a weight has one number or two, at the first step and at the last");
  term.weight = reader.number(node[0], "weight");
  term.final_weight = reader.number(node[1], "weight");
}

// `forward_kl`, or `forward_kl: {weight: 1, temperature: 2}`.
LossTerm parse_loss_term(const YamlReader& reader, const YAML::Node& node) {
  LossTerm term;
  const auto kind_of = [&](const YAML::Node& name) {
    const std::string text = reader.scalar(name, "a loss");
    return reader.at(name, [&] { return parse_loss(text); });
  };
  if (!node.IsMap()) {
    term.kind = kind_of(node);
    return term;
  }
  if (node.size() != 1)
    reader.fail(node, fmt::format("a loss has {} names; expected one, with its options", node.size()));
  term.kind = kind_of(node.begin()->first);
  reader.map(
      node.begin()->second, loss_name(term.kind),
      {{"weight", [&](const YAML::Node& n) { parse_weight(reader, n, term); }},
       {"temperature", [&](const YAML::Node& n) { term.temperature = reader.number(n, "temperature"); }},
       {"mix", [&](const YAML::Node& n) { term.mix = reader.number(n, "mix"); }},
       {"matched", [&](const YAML::Node& n) { term.matched = reader.count(n, "matched", 1); }},
       {"heads", [&](const YAML::Node& n) { term.heads = reader.count(n, "heads", 1); }}});
  return term;
}

TrainingData parse_data(const YamlReader& reader, const YAML::Node& node) {
  TrainingData data;
  reader.map(
      node, "data",
      {{"texts", [&](const YAML::Node& n) { data.texts = paths(reader, n, "texts"); }},
       {"traces", [&](const YAML::Node& n) { data.traces = paths(reader, n, "traces"); }},
       {"held_out_texts",
        [&](const YAML::Node& n) { data.held_out_texts = paths(reader, n, "held_out_texts"); }},
       {"length", [&](const YAML::Node& n) { data.length = reader.count(n, "length", 2); }},
       {"held_out", [&](const YAML::Node& n) { data.held_out = reader.number(n, "held_out"); }},
       {"held_out_sequences",
        [&](const YAML::Node& n) { data.held_out_sequences = reader.count(n, "held_out_sequences", 1); }},
       {"chat", [&](const YAML::Node& n) { data.chat = reader.flag(n, "chat"); }}});
  return data;
}

void parse_train(const YamlReader& reader, const YAML::Node& node, TrainSpec& spec) {
  const auto take = [&](double& into, const char* what) {
    return [&reader, &into, what](const YAML::Node& n) { into = reader.number(n, what); };
  };
  const auto count = [&](int64_t& into, const char* what, int64_t low) {
    return [&reader, &into, what, low](const YAML::Node& n) { into = reader.count(n, what, low); };
  };
  reader.map(node, "train",
             {{"tokens", count(spec.tokens, "tokens", 1)},
              {"batch", count(spec.batch, "batch", 1)},
              {"rate", take(spec.rate, "rate")},
              {"warmup", take(spec.warmup, "warmup")},
              {"final_rate", take(spec.final_rate, "final_rate")},
              {"decay", take(spec.decay, "decay")},
              {"clip", take(spec.clip, "clip")},
              {"checkpoint_blocks", count(spec.checkpoint_blocks, "checkpoint_blocks", 0)},
              {"save_minutes", take(spec.save_minutes, "save_minutes")},
              {"looks", count(spec.looks, "looks", 1)},
              {"patience", count(spec.patience, "patience", 0)},
              {"seed", [&](const YAML::Node& n) { spec.seed = uint64_t(reader.count(n, "seed", 0)); }},
              {"arithmetic", [&](const YAML::Node& n) {
                 const std::string text = reader.scalar(n, "arithmetic");
                 if (text != "f32" && text != "bf16")
                   reader.fail(n, fmt::format("arithmetic is \"{}\"; expected f32 or bf16", text));
                 spec.arithmetic = text == "f32" ? Arithmetic::f32 : Arithmetic::bf16;
               }}});
  if (spec.tokens == 0) reader.fail(node, "train has no tokens; expected how many to train on, in all");
}

// `{top_k: 64}` or `{samples: 50}`, and where: `folder`.
void parse_teacher_cache(const YamlReader& reader, const YAML::Node& node, TrainingSpec& spec) {
  std::optional<TeacherForm>& form = spec.train.teacher_cache;
  const auto take = [&](TeacherKind kind, const char* what) {
    return [&, kind, what](const YAML::Node& n) {
      if (form) reader.fail(n, "teacher_cache has both top_k and samples; expected one of the two");
      form = {.kind = kind, .k = reader.count(n, what, 1), .seed = 0};
    };
  };
  reader.map(node, "teacher_cache",
             {{"top_k", take(TeacherKind::top_k, "top_k")},
              {"samples", take(TeacherKind::samples, "samples")},
              {"folder", [&](const YAML::Node& n) { spec.cache_folder = reader.path(n, "folder"); }}});
  if (!form) reader.fail(node, "teacher_cache has neither top_k nor samples; expected how many of a token");
}

}  // namespace

YamlReader::Fields training_fields(const YamlReader& reader, TrainingSpec& spec) {
  return {{"data", [&](const YAML::Node& n) { spec.data = parse_data(reader, n); }},
          {"losses",
           [&](const YAML::Node& n) {
             reader.list(n, "losses", [&](const YAML::Node& loss) {
               spec.train.losses.push_back(parse_loss_term(reader, loss));
             });
           }},
          {"teacher_cache", [&](const YAML::Node& n) { parse_teacher_cache(reader, n, spec); }},
          {"train", [&](const YAML::Node& n) { parse_train(reader, n, spec.train); }}};
}

void check_training(const YamlReader& reader, const YAML::Node& node, TrainingSpec& spec, bool has_teacher) {
  if (spec.train.tokens == 0) reader.fail(node, "there is no train: {tokens: ...}");
  if (spec.train.losses.empty())
    spec.train.losses.push_back({.kind = has_teacher ? LossKind::forward_kl : LossKind::cross_entropy});
  reader.at(node, [&] { validate(spec.train, has_teacher); });
}

}  // namespace edgeq
