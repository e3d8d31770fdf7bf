// SPDX-License-Identifier: Apache-2.0
// quantization_config: what a folder's loader is told of its codes.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/version.h"
#include "models/export_hf.h"
#include "models/hf_items.h"

namespace edgeq {
namespace {

using Json = nlohmann::ordered_json;

// Linear layers by the name of their module: those with codes by scheme, those without.
struct Layers {
  std::map<std::string, std::vector<std::string>> coded;  // scheme_text -> modules
  std::vector<std::string> kept;
};

Layers list_layers(const CodedModel& model, const HfOptions& options) {
  Layers layers;
  const std::vector<HfItem> items = hf_items(model, options);
  for (const HfItem& item : items) {
    if (!item.weight || item.table) continue;
    if (item.form.scheme) {
      layers.coded[scheme_text(*item.form.scheme)].push_back(item.module());
    } else {
      layers.kept.push_back(item.module());
    }
  }
  // A tied head is a module all the same, and transformers 5 gives every head this name.
  const auto is_head = [](const HfItem& item) { return item.module() == "lm_head"; };
  if (std::ranges::none_of(items, is_head)) layers.kept.push_back("lm_head");
  if (layers.coded.empty())
    throw Error("no linear layer has codes; expected some for a quantized folder").set_hint("export to f16");
  return layers;
}

// The scheme that most layers have.
QuantScheme usual_scheme(const Layers& layers) {
  const auto most = std::ranges::max_element(layers.coded, {}, [](const auto& e) { return e.second.size(); });
  return parse_scheme(most->first);
}

int64_t config_group(const QuantScheme& scheme) { return scheme.group == 0 ? -1 : scheme.group; }

std::string exact_expression(const std::string& module) {
  std::string escaped;
  for (const char c : module) escaped += c == '.' ? std::string("\\.") : std::string(1, c);
  return fmt::format("^{}$", escaped);
}

Json gptq_json(const Layers& layers, HfLayout layout) {
  const QuantScheme usual = usual_scheme(layers);
  const auto settings = [](const QuantScheme& s) -> Json {
    return {{"bits", s.bits}, {"group_size", config_group(s)}, {"sym", s.zero == Zero::mid}};
  };
  const char* format = layout == HfLayout::gptq ? "gptq" : "gptq_v2";
  Json json = {{"quant_method", "gptq"}};
  json.update(settings(usual));
  json.update({{"desc_act", false},
               {"static_groups", true},
               {"true_sequential", true},
               {"lm_head", false},
               {"checkpoint_format", format},
               {"format", format},
               {"pack_dtype", "int32"},
               {"meta", {{"quantizer", Json::array({fmt::format("edgeq:{}", version())})}}}});
  Json dynamic = Json::object();
  for (const auto& [scheme, modules] : layers.coded)
    for (const std::string& module : modules) {
      if (module == "lm_head") json["lm_head"] = true;
      if (parse_scheme(scheme) != usual)
        dynamic["+:" + exact_expression(module)] = settings(parse_scheme(scheme));
    }
  for (const std::string& module : layers.kept)
    if (module != "lm_head") dynamic["-:" + exact_expression(module)] = Json::object();
  if (!dynamic.empty()) json["dynamic"] = std::move(dynamic);
  return json;
}

Json awq_json(const Layers& layers) {
  const QuantScheme usual = usual_scheme(layers);
  for (const auto& [scheme, modules] : layers.coded)
    if (parse_scheme(scheme).group != usual.group)
      throw Error(fmt::format("{} is {}; AWQ has one group size for the model, here {}", modules[0], scheme,
                              config_group(usual)));
  Json json = {{"quant_method", "awq"}, {"bits", 4},         {"group_size", config_group(usual)},
               {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", nullptr}};
  if (!layers.kept.empty()) json["modules_to_not_convert"] = layers.kept;
  return json;
}

Json compressed_json(const Layers& layers, HfLayout layout, Activations activations) {
  const bool w8a8 = layout == HfLayout::compressed_w8a8;
  const char* format = w8a8 ? "int-quantized" : "pack-quantized";
  Json groups = Json::object();
  for (const auto& [text, modules] : layers.coded) {
    const QuantScheme scheme = parse_scheme(text);
    Json weights = {{"num_bits", scheme.bits},
                    {"type", "int"},
                    {"symmetric", scheme.zero == Zero::mid},
                    {"strategy", scheme.group == 0 ? "channel" : "group"},
                    {"group_size", scheme.group == 0 ? Json(nullptr) : Json(scheme.group)},
                    {"dynamic", false},
                    {"actorder", nullptr},
                    {"observer", "minmax"}};
    Json inputs = nullptr;
    if (w8a8) inputs = {{"num_bits", 8}, {"type", "int"}, {"symmetric", true}};
    if (w8a8 && activations == Activations::int8_static) {
      inputs.update({{"strategy", "tensor"}, {"dynamic", false}});
    } else if (w8a8) {
      inputs.update({{"strategy", "token"}, {"dynamic", true}});
    }
    groups[fmt::format("group_{}", groups.size())] = {
        {"targets", layers.coded.size() == 1 ? Json::array({"Linear"}) : Json(modules)},
        {"weights", std::move(weights)},
        {"input_activations", std::move(inputs)},
        {"output_activations", nullptr},
        {"format", format}};
  }
  return {{"quant_method", "compressed-tensors"}, {"format", format},
          {"quantization_status", "compressed"},  {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},           {"ignore", layers.kept},
          {"config_groups", std::move(groups)}};
}

}  // namespace

std::string hf_quantization_json(const CodedModel& model, const HfOptions& options) {
  const Layers layers = list_layers(model, options);
  switch (options.layout) {
    case HfLayout::floats: break;
    case HfLayout::gptq:
    case HfLayout::gptq_v2: return gptq_json(layers, options.layout).dump(2);
    case HfLayout::awq: return awq_json(layers).dump(2);
    case HfLayout::compressed:
    case HfLayout::compressed_w8a8:
      return compressed_json(layers, options.layout, model.activations()).dump(2);
  }
  EDGEQ_CHECK(false, "a folder of floats has no quantization_config");
  return {};
}

}  // namespace edgeq
