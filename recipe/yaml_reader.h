// SPDX-License-Identifier: Apache-2.0
// What recipes and device files share in being read: every Error begins with "<kind> FILE:LINE: ", and a key
// that nobody knows is one that names the nearest known. yaml-cpp itself is included by the .cpp files alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "core/error.h"

namespace YAML {  // NOLINT(readability-identifier-naming): yaml-cpp's
class Node;
struct Mark;
}  // namespace YAML

namespace edgeq {

class YamlReader {
 public:
  // `kind` is "recipe" or "device"; relative paths inside the file are resolved against its folder.
  YamlReader(std::string kind, std::string file);

  // Throws Error for what is no YAML or absurdly long.
  YAML::Node load(std::string_view yaml) const;

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const;
  [[noreturn]] void fail(const YAML::Node& node, const std::string& message) const;

  // Visits a map; every key must be one of `fields` and appear once.
  using Fields = std::map<std::string, std::function<void(const YAML::Node&)>>;
  void map(const YAML::Node& node, std::string_view what, const Fields& fields) const;
  void list(const YAML::Node& node, std::string_view what,
            const std::function<void(const YAML::Node&)>& item) const;
  // The same, or one item alone.
  void one_or_list(const YAML::Node& node, std::string_view what,
                   const std::function<void(const YAML::Node&)>& item) const;

  std::string scalar(const YAML::Node& node, std::string_view what) const;
  int64_t count(const YAML::Node& node, std::string_view what, int64_t low) const;
  // A number in (0, high].
  double positive(const YAML::Node& node, std::string_view what, double high) const;
  // A number of at least 0, and at most 1e18.
  double number(const YAML::Node& node, std::string_view what) const;
  bool flag(const YAML::Node& node, std::string_view what) const;
  std::string path(const YAML::Node& node, std::string_view what) const;

  // Runs `body`; an Error gets the position of `node`.
  template <class Body>
  auto at(const YAML::Node& node, Body&& body) const {
    try {
      return body();
    } catch (const Error& error) {
      fail(node, error.what());
    }
  }

 private:
  [[noreturn]] void unknown_key(const YAML::Mark& mark, std::string_view what, const std::string& key,
                                const Fields& fields) const;

  std::string kind_, file_;
  std::filesystem::path folder_;
};

// The text of a file. Throws Error "<kind> PATH: ..." when it cannot be read.
std::string read_yaml_file(std::string_view kind, const std::string& path);

}  // namespace edgeq
