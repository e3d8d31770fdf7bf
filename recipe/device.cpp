// SPDX-License-Identifier: Apache-2.0
#include "recipe/device.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/text.h"
#include "recipe/yaml_reader.h"

namespace edgeq {
namespace {

constexpr double kGib = 1 << 30, kGb = 1e9;

// Text of one line that stands in a shell script's and a JSON file's quotes as it is.
std::string plain_text(const YamlReader& reader, const YAML::Node& node, std::string_view what) {
  const std::string text = reader.scalar(node, what);
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return c >= ' ' && c != '"' && c != '\\' && c != '$' && c != '`' && c != '\x7f';
  });
  if (text.empty() || !plain)
    reader.fail(node, fmt::format("{} is \"{}\"; expected one line of plain text", what, text));
  return text;
}

// A word of [A-Za-z0-9_].
std::string word(const YamlReader& reader, const YAML::Node& node, std::string_view what) {
  const std::string text = reader.scalar(node, what);
  const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c == '_' || (c < 0x80 && std::isalnum(c) != 0);
  });
  if (text.empty() || !plain) reader.fail(node, fmt::format("{} is \"{}\"; expected one word", what, text));
  return text;
}

std::string architecture(const YamlReader& reader, const YAML::Node& node) {
  const std::string text = reader.scalar(node, "architecture");
  if (text != "aarch64" && text != "x86_64")
    reader.fail(node, fmt::format("architecture is \"{}\"; expected aarch64 or x86_64", text));
  return text;
}

void read_cpu(const YamlReader& reader, const YAML::Node& node, Device& device) {
  reader.map(node, "cpu",
             {{"threads", [&](const YAML::Node& n) { device.threads = reader.count(n, "threads", 1); }},
              {"features",
               [&](const YAML::Node& n) {
                 reader.list(n, "features", [&](const YAML::Node& f) {
                   device.features.push_back(word(reader, f, "a feature"));
                 });
               }},
              {"kernels", [&](const YAML::Node& n) { device.kernels = word(reader, n, "kernels"); }},
              {"source", [&](const YAML::Node& n) { device.cpu_source = plain_text(reader, n, "source"); }}});
  if (device.threads == 0 || device.kernels.empty() || device.cpu_source.empty())
    reader.fail(node, "cpu lacks threads, kernels or source; expected all three");
  if (device.threads > 256)
    reader.fail(node, fmt::format("threads is {}; expected at most 256", device.threads));
}

void read_memory(const YamlReader& reader, const YAML::Node& node, Device& device) {
  reader.map(
      node, "memory",
      {{"gib",
        [&](const YAML::Node& n) {
          device.memory_bytes = int64_t(reader.positive(n, "gib", 1 << 16) * kGib);
        }},
       {"usable", [&](const YAML::Node& n) { device.usable_memory = reader.positive(n, "usable", 1); }},
       {"source", [&](const YAML::Node& n) { device.memory_source = plain_text(reader, n, "source"); }}});
  if (device.memory_bytes == 0 || device.usable_memory == 0 || device.memory_source.empty())
    reader.fail(node, "memory lacks gib, usable or source; expected all three");
}

void read_bandwidth(const YamlReader& reader, const YAML::Node& node, Device& device) {
  reader.map(
      node, "bandwidth",
      {{"gb_per_second",
        [&](const YAML::Node& n) { device.bandwidth = reader.positive(n, "gb_per_second", 1e5) * kGb; }},
       {"reached", [&](const YAML::Node& n) { device.reached_bandwidth = reader.positive(n, "reached", 1); }},
       {"source", [&](const YAML::Node& n) { device.bandwidth_source = plain_text(reader, n, "source"); }}});
  if (device.bandwidth == 0 || device.reached_bandwidth == 0 || device.bandwidth_source.empty())
    reader.fail(node, "bandwidth lacks gb_per_second, reached or source; expected all three");
}

}  // namespace

Device parse_device(std::string_view yaml, const std::string& file) {
  const YamlReader reader("device", file);
  const YAML::Node root = reader.load(yaml);
  Device device;
  reader.map(root, "the device",
             {{"title", [&](const YAML::Node& n) { device.title = plain_text(reader, n, "title"); }},
              {"architecture", [&](const YAML::Node& n) { device.architecture = architecture(reader, n); }},
              {"cpu", [&](const YAML::Node& n) { read_cpu(reader, n, device); }},
              {"memory", [&](const YAML::Node& n) { read_memory(reader, n, device); }},
              {"bandwidth", [&](const YAML::Node& n) { read_bandwidth(reader, n, device); }}});
  if (device.architecture.empty() || device.threads == 0 || device.memory_bytes == 0 || device.bandwidth == 0)
    reader.fail(root, "the device lacks architecture, cpu, memory or bandwidth; expected all four");
  device.name = std::filesystem::path(file).stem().string();
  if (device.title.empty()) device.title = device.name;
  return device;
}

Device load_device(const std::string& path) { return parse_device(read_yaml_file("device", path), path); }

void check_fits(const Device& device, const DeviceNeeds& needs, const std::string& model) {
  if (needs.total() <= device.usable_bytes()) return;
  throw Error(
      fmt::format("{} needs {} on {} ({} for the file, {} for the cache of {} tokens, {} to work in); "
                  "expected at most {}, {:.0f} % of its {}",
                  model, bytes_text(needs.total()), device.name, bytes_text(needs.file_bytes),
                  bytes_text(needs.kv_bytes), needs.context, bytes_text(needs.work_bytes),
                  bytes_text(device.usable_bytes()), 100 * device.usable_memory,
                  bytes_text(device.memory_bytes)))
      .set_hint("a shorter --context, or a recipe with fewer bits");
}

}  // namespace edgeq
