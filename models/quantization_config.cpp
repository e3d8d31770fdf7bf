// SPDX-License-Identifier: Apache-2.0
#include "models/quantization_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/error.h"
#include "formats/mapped_file.h"
#include "models/tokenizer_pattern.h"

namespace edgeq {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 16;
constexpr int64_t kMaxGroup = 1 << 20;

// nullptr when absent or null.
const json* find(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// The first of several spellings of a key.
const json* find_any(const json& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (const json* value = find(object, key)) return value;
  return nullptr;
}

[[noreturn]] void refuse(std::string_view key, const json& value, std::string_view expected) {
  const std::string found = value.is_structured()
                                ? fmt::format("an {}", value.type_name())
                                : value.dump(-1, ' ', false, json::error_handler_t::replace);
  throw Error(fmt::format("quantization_config: {} is {}; expected {}", key, found.substr(0, 60), expected));
}

int64_t integer(const json& value, std::string_view key, int64_t low, int64_t high) {
  // Comparing wide: an unsigned value past 2^63 must not wrap.
  const bool fits = value.is_number_integer() && (!value.is_number_unsigned() || value <= uint64_t(high));
  if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high)
    refuse(key, value, fmt::format("a number from {} to {}", low, high));
  return value.get<int64_t>();
}

int64_t group_size(const json* value, int64_t otherwise) {
  if (value == nullptr) return otherwise;
  const int64_t group = integer(*value, "group_size", -1, kMaxGroup);
  if (group == 0) refuse("group_size", *value, "-1 or at least 1");
  return group == -1 ? 0 : group;
}

bool boolean(const json* value, std::string_view key, bool otherwise) {
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) refuse(key, *value, "true or false");
  return value->get<bool>();
}

std::string lower_text(const json* value, std::string_view key, std::string otherwise) {
  if (value == nullptr) return otherwise;
  if (!value->is_string()) refuse(key, *value, "a text");
  std::string text = value->get<std::string>();
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return text;
}

std::vector<std::string> texts(const json* value, std::string_view key) {
  std::vector<std::string> out;
  if (value == nullptr) return out;
  if (!value->is_array()) refuse(key, *value, "a list of texts");
  for (const json& item : *value) {
    if (!item.is_string()) refuse(key, item, "a text in the list");
    out.push_back(item.get<std::string>());
  }
  return out;
}

// GPTQ
// ----------------------------------------------------------------------------------------------------------

GptqVersion gptq_version(const std::string& format) {
  if (format == "gptq") return GptqVersion::v1;
  if (format == "gptq_v2") return GptqVersion::v2;
  throw Error(
      fmt::format("quantization_config: checkpoint_format \"{}\" is not read; expected gptq or gptq_v2",
                  format))
      .set_hint("convert the folder to gptq_v2 with GPTQModel");
}

GptqSettings gptq_settings(const json& object, GptqSettings settings) {
  if (const json* bits = find(object, "bits")) settings.bits = int(integer(*bits, "bits", 1, 8));
  settings.group = group_size(find(object, "group_size"), settings.group);
  settings.symmetric = boolean(find(object, "sym"), "sym", settings.symmetric);
  return settings;
}

// A rule of `dynamic`: layers whose name an expression matches have settings of their own, or none.
struct GptqRule {
  Pattern pattern;
  std::optional<GptqSettings> settings;
};

std::vector<std::pair<std::string, json>> in_file_order(const nlohmann::ordered_json& object) {
  std::vector<std::pair<std::string, json>> items;
  for (const auto& [key, value] : object.items()) items.emplace_back(key, json(value));
  return items;
}

auto read_gptq_config(const json& config, const nlohmann::ordered_json& ordered) {
  if (find(config, "bits") == nullptr) throw Error("quantization_config: bits is missing");
  if (const std::string words = lower_text(find(config, "pack_dtype"), "pack_dtype", "int32");
      words != "int32")
    throw Error(fmt::format("quantization_config: pack_dtype \"{}\" is not read; expected int32", words));
  GptqSettings base = gptq_settings(config, {});
  base.version = gptq_version(
      lower_text(find_any(config, {"checkpoint_format", "format"}), "checkpoint_format", "gptq"));
  auto rules = std::make_shared<std::vector<GptqRule>>();
  if (const json* dynamic = find(config, "dynamic")) {
    if (!dynamic->is_object()) refuse("dynamic", *dynamic, "an object");
    for (const auto& [key, value] : in_file_order(ordered.at("dynamic"))) {
      const bool left_out = key.starts_with("-:");
      const std::string_view source =
          left_out || key.starts_with("+:") ? std::string_view(key).substr(2) : key;
      if (!value.is_object()) refuse("dynamic", value, "objects by expression");
      rules->push_back(
          {Pattern(source), left_out ? std::nullopt : std::optional(gptq_settings(value, base))});
    }
  }
  return [base, rules](std::string_view module) -> std::optional<LayerSettings> {
    for (const GptqRule& rule : *rules)
      if (rule.pattern.matches_at_start(module))
        return rule.settings ? std::optional<LayerSettings>(*rule.settings) : std::nullopt;
    return base;
  };
}

// AWQ
// -----------------------------------------------------------------------------------------------------------

auto read_awq_config(const json& config) {
  const json* bits = find_any(config, {"bits", "w_bit"});
  if (bits != nullptr && integer(*bits, "bits", 1, 8) != 4) refuse("bits", *bits, "4");
  const std::string version = lower_text(find_any(config, {"version", "format"}), "version", "gemm");
  if (version != "gemm")
    throw Error(fmt::format("quantization_config: AWQ version \"{}\" is not read; expected gemm", version));
  if (lower_text(find(config, "backend"), "backend", "autoawq") == "llm-awq")
    throw Error("quantization_config: AWQ backend \"llm-awq\" is not read; expected autoawq");
  if (!boolean(find(config, "zero_point"), "zero_point", true))
    throw Error("quantization_config: AWQ without zero points (zero_point: false) is not read");
  const AwqSettings settings{group_size(find_any(config, {"group_size", "q_group_size"}), 128)};
  return [settings](std::string_view) -> std::optional<LayerSettings> { return settings; };
}

// compressed-tensors
// --------------------------------------------------------------------------------------------

// "re:" and an expression that matches at the start, a whole name, or the class of all layers that are read.
class Target {
 public:
  explicit Target(const std::string& text) : text_(text) {
    if (text.starts_with("re:")) pattern_ = std::make_shared<Pattern>(std::string_view(text).substr(3));
  }
  // 0: no match; a whole name goes before an expression, and both before a class.
  int rank(std::string_view module) const {
    if (pattern_ != nullptr) return pattern_->matches_at_start(module) ? 2 : 0;
    return module == text_ ? 3 : text_ == "Linear" ? 1 : 0;
  }

 private:
  std::string text_;
  std::shared_ptr<const Pattern> pattern_;
};

struct CompressedGroup {
  std::vector<Target> targets;
  std::optional<CompressedSettings> settings;  // nullopt: weights are not quantized
};

CompressedFormat compressed_format(const std::string& name) {
  if (name == "pack-quantized") return CompressedFormat::pack_quantized;
  if (name == "int-quantized") return CompressedFormat::int_quantized;
  throw Error(fmt::format(
      "quantization_config: format \"{}\" is not read; expected pack-quantized or int-quantized", name));
}

CompressedSettings compressed_settings(const json& weights, const std::string& format) {
  CompressedSettings settings{.format = compressed_format(format)};
  if (const std::string type = lower_text(find(weights, "type"), "type", "int"); type != "int")
    throw Error(fmt::format("quantization_config: weights of type \"{}\" are not read; expected int", type));
  const json* bits = find(weights, "num_bits");
  settings.bits = bits == nullptr ? 8 : int(integer(*bits, "num_bits", 1, 8));
  settings.symmetric = boolean(find(weights, "symmetric"), "symmetric", true);
  settings.group = group_size(find(weights, "group_size"), 0);
  const std::string strategy =
      lower_text(find(weights, "strategy"), "strategy", settings.group == 0 ? "channel" : "group");
  if (strategy == "channel" || strategy == "tensor") {
    settings.group = 0;
  } else if (strategy != "group" || settings.group == 0) {
    throw Error(
        fmt::format("quantization_config: weights of strategy \"{}\" are not read; expected group (with "
                    "a group_size), channel or tensor",
                    strategy));
  }
  return settings;
}

CompressedGroup compressed_group(const json& value, const std::string& default_format) {
  if (!value.is_object()) refuse("config_groups", value, "objects with targets and weights");
  CompressedGroup group;
  for (const std::string& target : texts(find(value, "targets"), "targets"))
    group.targets.emplace_back(target);
  if (const json* weights = find(value, "weights")) {
    if (!weights->is_object()) refuse("weights", *weights, "an object");
    group.settings =
        compressed_settings(*weights, lower_text(find(value, "format"), "format", default_format));
  }
  return group;
}

auto read_compressed_config(const json& config) {
  if (const json* rotations = find(config, "transform_config"); rotations != nullptr && !rotations->empty())
    throw Error("quantization_config: transform_config is not read; expected none");
  if (const json* sparsity = find(config, "sparsity_config"); sparsity != nullptr && !sparsity->empty())
    if (!sparsity->is_object() || lower_text(find(*sparsity, "format"), "format", "") != "dense")
      throw Error("quantization_config: sparsity_config is not read; expected none, or dense");
  const std::string format = lower_text(find(config, "format"), "format", "");
  const json* entries = find(config, "config_groups");
  if (entries == nullptr || !entries->is_object() || entries->empty())
    throw Error("quantization_config: config_groups is missing or empty");
  auto groups = std::make_shared<std::vector<CompressedGroup>>();
  for (const auto& [name, value] : entries->items()) groups->push_back(compressed_group(value, format));
  auto ignored = std::make_shared<std::vector<Target>>();
  for (const std::string& name : texts(find(config, "ignore"), "ignore")) ignored->emplace_back(name);
  return [groups, ignored](std::string_view module) -> std::optional<LayerSettings> {
    for (const Target& target : *ignored)
      if (target.rank(module) > 0) return std::nullopt;
    const CompressedGroup* best = nullptr;
    int best_rank = 0;
    for (const CompressedGroup& group : *groups)
      for (const Target& target : group.targets)
        if (const int rank = target.rank(module); rank > best_rank) {
          best = &group;
          best_rank = rank;
        }
    if (best == nullptr || !best->settings) return std::nullopt;
    return *best->settings;
  };
}

// W8A8: the codes of weights are read, and inputs stay as they are.
std::vector<std::string> activation_notes(const json& config) {
  bool rounded = false, constant = false;
  for (const auto& [name, group] : find(config, "config_groups")->items()) {
    const json* inputs = find(group, "input_activations");
    if (inputs == nullptr || !inputs->is_object()) continue;
    rounded = true;
    const json* dynamic = find(*inputs, "dynamic");
    constant |= dynamic == nullptr || *dynamic == false;
  }
  if (!rounded) return {};
  return {fmt::format("the checkpoint rounds activations when it runs{}; this reads its weights alone",
                      constant ? ", by input scales that were measured once" : "")};
}

nlohmann::ordered_json parse(std::string_view text) {
  const auto shallow = [](int depth, nlohmann::ordered_json::parse_event_t, nlohmann::ordered_json&) {
    if (depth > kMaxDepth) throw Error("nested too deeply");
    return true;
  };
  try {
    return nlohmann::ordered_json::parse(text, shallow);
  } catch (const nlohmann::ordered_json::exception&) {
    throw Error("not valid JSON");
  }
}

}  // namespace

QuantizationConfig::QuantizationConfig(std::string_view json_text) {
  const nlohmann::ordered_json ordered = parse(json_text);
  const json config(ordered);
  if (!config.is_object()) throw Error("quantization_config is not an object");
  // Files of AutoGPTQ name no method.
  method_ = lower_text(find_any(config, {"quant_method", "method"}), "quant_method",
                       find(config, "w_bit") != nullptr ? "awq" : "gptq");
  if (method_ == "gptq") {
    settings_ = read_gptq_config(config, ordered);
  } else if (method_ == "awq") {
    settings_ = read_awq_config(config);
  } else if (method_ == "compressed-tensors") {
    settings_ = read_compressed_config(config);
    notes_ = activation_notes(config);
  } else {
    throw Error(fmt::format("the checkpoint is quantized by \"{}\"; expected floats, or gptq, awq or "
                            "compressed-tensors",
                            method_))
        .set_hint("use the float checkpoint that it was made from");
  }
}

LayerSettings QuantizationConfig::settings(std::string_view module) const {
  if (auto settings = settings_(module)) return *settings;
  throw Error(fmt::format("{} holds codes, but quantization_config leaves it out", module));
}

std::string read_config_file(const std::string& path) {
  constexpr int64_t kMaxBytes = 16 << 20;
  const auto file = MappedFile::open(path);
  if (file->size() > kMaxBytes)
    throw Error(fmt::format("{}: {} bytes; expected a config of at most {}", path, file->size(), kMaxBytes));
  return std::string(file->text());
}

std::optional<QuantizationConfig> find_quantization_config(const std::string& folder) {
  const std::string config_path = (std::filesystem::path(folder) / "config.json").string();
  auto found =
      with_context(config_path, [&] { return quantization_config_of(read_config_file(config_path)); });
  for (const char* name : {"quantize_config.json", "quant_config.json"}) {
    const std::string path = (std::filesystem::path(folder) / name).string();
    std::error_code ignored;
    if (!found && std::filesystem::exists(path, ignored))
      found = with_context(path, [&] { return QuantizationConfig(read_config_file(path)); });
  }
  return found;
}

std::optional<QuantizationConfig> quantization_config_of(std::string_view config_json) {
  const nlohmann::ordered_json config = parse(config_json);
  if (!config.is_object()) return std::nullopt;  // parse_hf_config says so
  const auto found = config.find("quantization_config");
  if (found == config.end() || found->is_null()) return std::nullopt;
  return QuantizationConfig(found->dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace edgeq
