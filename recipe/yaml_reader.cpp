// SPDX-License-Identifier: Apache-2.0
#include "recipe/yaml_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <vector>

#include "core/text.h"

namespace edgeq {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr int64_t kMaxCount = int64_t(1) << 40;
constexpr double kMaxNumber = 1e18;

}  // namespace

YamlReader::YamlReader(std::string kind, std::string file)
    : kind_(std::move(kind)), file_(std::move(file)), folder_(std::filesystem::path(file_).parent_path()) {}

YAML::Node YamlReader::load(std::string_view yaml) const {
  if (yaml.size() > kMaxBytes)
    throw Error(fmt::format("{} {}: {} bytes; expected at most {}", kind_, file_, yaml.size(), kMaxBytes));
  try {
    return YAML::Load(std::string(yaml));
  } catch (const YAML::Exception& e) {
    fail(e.mark, e.msg);
  }
}

void YamlReader::fail(const YAML::Mark& mark, const std::string& message) const {
  const std::string at = mark.is_null() ? file_ : fmt::format("{}:{}", file_, mark.line + 1);
  throw Error(fmt::format("{} {}: {}", kind_, at, message));
}

void YamlReader::fail(const YAML::Node& node, const std::string& message) const {
  fail(node.Mark(), message);
}

void YamlReader::map(const YAML::Node& node, std::string_view what, const Fields& fields) const {
  if (!node.IsMap()) fail(node, fmt::format("{} is not a map of keys and values", what));
  std::vector<std::string> seen;
  for (const auto& entry : node) {
    const std::string key = scalar(entry.first, "a key");
    const auto field = fields.find(key);
    if (field == fields.end()) unknown_key(entry.first.Mark(), what, key, fields);
    if (std::find(seen.begin(), seen.end(), key) != seen.end())
      fail(entry.first, fmt::format("key {} appears twice in {}", key, what));
    seen.push_back(key);
    field->second(entry.second);
  }
}

void YamlReader::list(const YAML::Node& node, std::string_view what,
                      const std::function<void(const YAML::Node&)>& item) const {
  if (!node.IsSequence()) fail(node, fmt::format("{} is not a list", what));
  for (const auto& element : node) item(element);
}

void YamlReader::one_or_list(const YAML::Node& node, std::string_view what,
                             const std::function<void(const YAML::Node&)>& item) const {
  node.IsSequence() ? list(node, what, item) : item(node);
}

double YamlReader::number(const YAML::Node& node, std::string_view what) const {
  const std::string text = scalar(node, what);
  double value = 0;
  if (!YAML::convert<double>::decode(node, value) || !(value >= 0 && value <= kMaxNumber))
    fail(node, fmt::format("{} is \"{}\"; expected a number of at least 0", what, text));
  return value;
}

bool YamlReader::flag(const YAML::Node& node, std::string_view what) const {
  const std::string text = scalar(node, what);
  if (text != "true" && text != "false")
    fail(node, fmt::format("{} is \"{}\"; expected true or false", what, text));
  return text == "true";
}

std::string YamlReader::scalar(const YAML::Node& node, std::string_view what) const {
  if (!node.IsScalar()) fail(node, fmt::format("{} is not a single value", what));
  return node.Scalar();
}

int64_t YamlReader::count(const YAML::Node& node, std::string_view what, int64_t low) const {
  const std::string text = scalar(node, what);
  int64_t value = 0;
  if (!YAML::convert<int64_t>::decode(node, value) || value < low || value > kMaxCount)
    fail(node, fmt::format("{} is \"{}\"; expected a whole number of at least {}", what, text, low));
  return value;
}

double YamlReader::positive(const YAML::Node& node, std::string_view what, double high) const {
  const std::string text = scalar(node, what);
  double value = 0;
  if (!YAML::convert<double>::decode(node, value) || !(value > 0 && value <= high))
    fail(node, fmt::format("{} is \"{}\"; expected a number above 0, at most {}", what, text, high));
  return value;
}

std::string YamlReader::path(const YAML::Node& node, std::string_view what) const {
  const std::string text = scalar(node, what);
  if (text.empty()) fail(node, fmt::format("{} is empty; expected a path", what));
  return (folder_ / text).lexically_normal().string();
}

void YamlReader::unknown_key(const YAML::Mark& mark, std::string_view what, const std::string& key,
                             const Fields& fields) const {
  std::vector<std::string> names;
  for (const auto& [name, visit] : fields) names.push_back(name);
  const auto near = nearest_name(key, names);
  const std::string cure = near ? fmt::format("did you mean {}?", *near)
                                : fmt::format("expected one of {}", fmt::join(names, ", "));
  fail(mark, fmt::format("unknown key {} in {}; {}", key, what, cure));
}

std::string read_yaml_file(std::string_view kind, const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) throw Error(fmt::format("{} {}: cannot be read", kind, path));
  return text;
}

}  // namespace edgeq
