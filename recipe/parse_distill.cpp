// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>

#include "core/error.h"
#include "recipe/distill_recipe.h"
#include "recipe/parse_training.h"
#include "recipe/yaml_reader.h"

namespace edgeq {
namespace {

StudentSpec parse_student(const YamlReader& reader, const YAML::Node& node) {
  StudentSpec student;
  bool shaped = false;
  const auto size = [&](int64_t& into, const char* what) {
    return [&, what](const YAML::Node& n) { into = reader.count(n, what, 1), shaped = true; };
  };
  reader.map(
      node, "student",
      {{"model", [&](const YAML::Node& n) { student.model = reader.path(n, "model"); }},
       {"layers", size(student.shape.layers, "layers")},
       {"hidden", size(student.shape.hidden, "hidden")},
       {"heads", size(student.shape.heads, "heads")},
       {"kv_heads", size(student.shape.kv_heads, "kv_heads")},
       {"head_dim", size(student.shape.head_dim, "head_dim")},
       {"ffn", size(student.shape.ffn, "ffn")},
       {"init",
        [&](const YAML::Node& n) {
          const std::string text = reader.scalar(n, "init");
          if (text != "teacher" && text != "random")
            reader.fail(n, fmt::format("init is \"{}\"; expected teacher or random", text));
          student.from_teacher = text == "teacher";
        }},
       {"adapters",
        [&](const YAML::Node& n) {
          reader.map(
              n, "adapters",
              {{"rank", [&](const YAML::Node& r) { student.adapters.rank = reader.count(r, "rank", 1); }},
               {"alpha",
                [&](const YAML::Node& a) { student.adapters.alpha = reader.positive(a, "alpha", 1e6); }}});
          if (student.adapters.rank == 0) reader.fail(n, "adapters have no rank");
        }},
       {"inputs",
        [&](const YAML::Node& n) {
          const std::string text = reader.scalar(n, "inputs");
          student.inputs = reader.at(n, [&] { return parse_activations(text); });
          if (student.inputs == Activations::int8_static)
            reader.fail(n,
                        "inputs int8_static cannot be trained with; expected int8_token, int8_block or f32");
        }},
       {"quantize", [&](const YAML::Node& n) {
          const std::string text = reader.scalar(n, "quantize");
          student.scheme = reader.at(n, [&] { return parse_scheme(text); });
        }}});
  if (!student.model.empty() && (shaped || student.from_teacher))
    reader.fail(node, "student has both a model and a shape or init; expected one of the two");
  if (student.adapters.rank > 0 && (student.scheme || student.inputs))
    reader.fail(node, fmt::format("student has both adapters and {}; rounding is trained on whole weights",
                                  student.scheme ? "quantize" : "inputs"));
  return student;
}

}  // namespace

DistillRecipe parse_distill_recipe(std::string_view yaml, const std::string& file) {
  const YamlReader reader("recipe", file);
  const YAML::Node root = reader.load(yaml);
  DistillRecipe recipe;
  recipe.name = std::filesystem::path(file).stem().string();
  bool has_student = false;
  TrainingSpec& training = recipe.training;
  YamlReader::Fields fields = training_fields(reader, training);
  fields.merge(YamlReader::Fields{
      {"title", [&](const YAML::Node& n) { recipe.title = reader.scalar(n, "title"); }},
      {"teacher", [&](const YAML::Node& n) { recipe.teacher = reader.path(n, "teacher"); }},
      {"student",
       [&](const YAML::Node& n) {
         recipe.student = parse_student(reader, n);
         has_student = true;
       }},
      {"for", [&](const YAML::Node& n) { recipe.target = reader.scalar(n, "for"); }}});
  reader.map(root, "the recipe", fields);
  if (recipe.title.empty()) recipe.title = recipe.name;
  if (!has_student)
    reader.fail(root, "there is no student; expected {model: ...} or a shape such as {layers: 4}");
  if (recipe.teacher.empty() && recipe.student.model.empty())
    reader.fail(root, "a student that is made anew takes its shape from a teacher, and there is none");
  if (training.data.empty())
    reader.fail(root, "there is no data; expected data: {texts: ...} or {traces: ...}");
  check_training(reader, root, training, !recipe.teacher.empty());
  return recipe;
}

DistillRecipe load_distill_recipe(const std::string& path) {
  return parse_distill_recipe(read_yaml_file("recipe", path), path);
}

}  // namespace edgeq
