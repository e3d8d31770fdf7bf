// SPDX-License-Identifier: Apache-2.0
// Hugging Face folders as targets (models/export_hf.h). For a recipe the target fixes width, group and kind
// of zero point: "gptq:g64" has groups of 64, "gptq" those that the recipe asks for.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "core/error.h"
#include "models/export_hf.h"
#include "models/targets.h"

namespace edgeq {
namespace {

struct Kind {
  std::string_view name;
  HfLayout layout;
  DType dtype;
};
constexpr Kind kKinds[] = {{"f32", HfLayout::floats, DType::f32},
                           {"f16", HfLayout::floats, DType::f16},
                           {"bf16", HfLayout::floats, DType::bf16},
                           {"gptq", HfLayout::gptq, DType::f16},
                           {"gptq-v2", HfLayout::gptq_v2, DType::f16},
                           {"awq", HfLayout::awq, DType::f16},
                           {"compressed-tensors", HfLayout::compressed, DType::f16},
                           {"compressed-tensors-w8a8", HfLayout::compressed_w8a8, DType::f16}};

class HfTarget final : public Target {
 public:
  explicit HfTarget(std::string_view name) : name_(name) {
    const size_t colon = name.find(':');
    const auto kind = std::ranges::find(kKinds, name.substr(0, colon), &Kind::name);
    EDGEQ_CHECK(kind != std::end(kKinds), "every folder of the table has a layout");
    options_.layout = kind->layout;
    options_.dtype = kind->dtype;
    if (colon == name.npos) return;
    const std::string_view group = name.substr(colon + 1);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(group.data() + 1, group.data() + group.size(), value);
    if (group[0] != 'g' || error != std::errc() || end != group.data() + group.size() || value < 1)
      throw Error(fmt::format("target \"{}\": the group is \"{}\"; expected g32, g64, g128 and the like",
                              name, group));
    group_ = value;
  }
  const std::string& name() const override { return name_; }
  std::string_view ending() const override { return ""; }

  void check(const ModelConfig& config) const override { check_hf_config(config, options_.layout); }
  Placed choose(const SiteShape& site, const WeightForm& asked) const override {
    if (!asked.scheme) return keep(site, asked);
    WeightForm form = asked;
    form.scheme = grid(*asked.scheme);
    const WeightForm held = hf_form(options_, site.name, form);
    if (!held.scheme)
      return {held, options_.layout == HfLayout::floats ? "" : "this layout has no codes for tables"};
    if (options_.layout == HfLayout::awq && asked.scheme->bits > 4) {
      form.scheme.reset();
      form.dtype = options_.dtype;
      return {form, fmt::format("AWQ has 4-bit codes only: {}", dtype_name(form.dtype))};
    }
    check_columns(*form.scheme, form.cols);
    refuse(site, form);
    const bool from_one = options_.layout == HfLayout::gptq && held.scheme->zero == Zero::integer;
    return {.form = held, .zeros_from_one = from_one};
  }
  Placed keep(const SiteShape& site, const WeightForm& have) const override {
    refuse(site, have);
    return {hf_form(options_, site.name, have), ""};
  }

  int64_t bytes(const WeightForm& form) const override { return stored_bytes(form); }
  int64_t beside_bytes(const ModelConfig&, const Tokenizer&) const override {
    throw Error(fmt::format("bytes of a file for {} are not counted", name_))
        .set_hint("write a packed or GGUF file, or give the budget as bits_per_weight");
  }

  std::vector<std::string> notes(const CodedModel& model) const override {
    std::vector<std::string> notes = foreign_notes(model);
    const auto asymmetric = [&](const SiteShape& site) {
      const auto scheme = hf_form(options_, site.name, model.form(site.name)).scheme;
      return scheme && scheme->zero == Zero::integer;
    };
    if (options_.layout == HfLayout::gptq && std::ranges::any_of(all_sites(model.config()), asymmetric))
      notes.emplace_back(
          "GPTQModel loads zero points of version 1 only from files of its own; give it gptq-v2");
    return notes;
  }
  int64_t write(const CodedModel& model, const std::string& path,
                OutputFile::Existing existing) const override {
    HfOptions options = options_;
    options.existing = existing;
    return export_hf(model, path, options);
  }

 private:
  QuantScheme grid(const QuantScheme& asked) const {
    QuantScheme scheme{.bits = asked.bits, .group = group_.value_or(asked.group)};
    scheme.zero = asked.zero == Zero::mid ? Zero::mid : Zero::integer;
    switch (options_.layout) {
      case HfLayout::gptq:
      case HfLayout::gptq_v2: scheme.bits = asked.bits <= 4 ? asked.bits : 8; break;
      case HfLayout::awq:
        scheme.bits = 4;
        scheme.zero = Zero::integer;
        break;
      case HfLayout::compressed: scheme.bits = asked.bits <= 4 ? 4 : 8; break;
      case HfLayout::compressed_w8a8:
        return {.bits = 8, .group = 0, .zero = Zero::mid, .store = ScaleStore::f32};
      case HfLayout::floats: return asked;
    }
    return scheme;
  }
  void refuse(const SiteShape& site, const WeightForm& form) const {
    if (const auto why = hf_obstacle(options_, site.name, form))
      throw Error(fmt::format("{}: {}", form_text(form), *why))
          .set_hint(fmt::format("quantize with --for {}, or add --round to choose its codes anew", name_));
  }

  std::string name_;
  HfOptions options_;
  std::optional<int64_t> group_;
};

}  // namespace

std::shared_ptr<const Target> make_hf_target(std::string_view name) {
  return std::make_shared<HfTarget>(name);
}

}  // namespace edgeq
