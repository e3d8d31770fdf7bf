// SPDX-License-Identifier: Apache-2.0
#include "recipe/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/text.h"
#include "formats/panels.h"
#include "models/names.h"
#include "models/sites.h"
#include "quantizers/registry.h"

namespace edgeq {
namespace {

// A tied table is the embedding and the head, and answers to both names.
bool answers_to(const SiteShape& site, bool tied_head, std::string_view pattern) {
  return glob_match(pattern, site.name) ||
         (tied_head && site.name == "embedding" && glob_match(pattern, "head"));
}

std::string rule_place(const Recipe& recipe, const Rule& rule) {
  return fmt::format("recipe {}:{}", recipe.name, rule.line);
}

// A rule that matches nothing is a typing error or a recipe for another family.
void refuse_idle_rules(const Recipe& recipe, const ModelConfig& config,
                       const std::vector<SiteShape>& shapes) {
  for (const Rule& rule : recipe.rules) {
    const auto matches = [&](const SiteShape& s) { return answers_to(s, config.tied_head, rule.match); };
    if (std::any_of(shapes.begin(), shapes.end(), matches)) continue;
    Error error(fmt::format("{}: rule \"{}\" matches no site", rule_place(recipe, rule), rule.match));
    std::vector<std::string> names;
    for (const SiteShape& s : shapes) names.push_back(s.name);
    if (const auto near = nearest_name(rule.match, names))
      error.set_hint(fmt::format("did you mean \"{}\"?", *near));
    throw error;
  }
}

// What becomes of a site that a rule wants in the form `asked`.
SitePlan plan_form(const Recipe& recipe, const Rule& rule, const Target& target, const SiteShape& shape,
                   const WeightForm& asked) {
  SitePlan site{.name = shape.name, .rows = shape.rows, .cols = shape.cols};
  Placed placed = target.choose(shape, asked);
  site.note = std::move(placed.note);
  if (!placed.form.scheme) {
    site.keep = placed.form.dtype;
    site.bytes = target.bytes(placed.form);
    return site;
  }
  site.scheme = *placed.form.scheme;
  site.method = rule.quantizer;
  site.quantizer = make_quantizer(rule.quantizer, site.scheme, target_options(rule.options, placed));
  for (const std::string& name : rule.refine) site.refiners.push_back(make_refiner(name));
  // The table has no predecessors, and cached statistics are of the float model alone.
  if (rule.correct && shape.name != "embedding" && recipe.calibration.statistics.empty())
    site.correction = make_correction(*rule.correct);
  check_columns(site.scheme, site.cols);
  if (recipe.target == "packed") require_kernels(site.scheme);
  site.bytes = target.bytes(placed.form);
  return site;
}

// What the site may become, the smallest first.
std::vector<SitePlan> plan_site(const Recipe& recipe, const Target& target, const SiteShape& shape,
                                const Checkpoint& checkpoint) {
  const bool tied = checkpoint.config().tied_head;
  const auto found = std::find_if(recipe.rules.begin(), recipe.rules.end(),
                                  [&](const Rule& r) { return answers_to(shape, tied, r.match); });
  if (found == recipe.rules.end())
    throw Error(fmt::format("recipe {}: no rule matches {}; end the rules with {{match: \"*\", ...}}",
                            recipe.name, shape.name));
  if (found->schemes.size() > 1 && !recipe.budget)
    throw Error(
        fmt::format("{}: several schemes and no budget to choose among them", rule_place(recipe, *found)))
        .set_hint("add a budget to the recipe, such as budget: {bytes: 80MB}, or --budget 80MB");
  std::vector<WeightForm> asked;
  if (found->keep) asked.push_back({.dtype = *found->keep, .rows = shape.rows, .cols = shape.cols});
  for (const QuantScheme& scheme : found->schemes)
    asked.push_back({.scheme = scheme, .rows = shape.rows, .cols = shape.cols});
  std::vector<SitePlan> candidates;
  with_context(fmt::format("{}: {}", rule_place(recipe, *found), shape.name), [&] {
    for (const WeightForm& form : asked) {
      SitePlan site = plan_form(recipe, *found, target, shape, form);
      site.source = checkpoint.encoding(shape.name);
      site.rule = int(found - recipe.rules.begin());
      // Several schemes of a rule may come to the same in the target.
      const auto same = [&](const SitePlan& other) {
        return other.keep == site.keep && other.scheme == site.scheme;
      };
      if (std::ranges::none_of(candidates, same)) candidates.push_back(std::move(site));
    }
  });
  std::ranges::stable_sort(candidates, {}, &SitePlan::bytes);
  return candidates;
}

std::vector<std::shared_ptr<const Transform>> plan_transforms(const Recipe& recipe,
                                                              const ModelConfig& config) {
  std::vector<std::shared_ptr<const Transform>> transforms;
  for (const TransformSpec& spec : recipe.transforms)
    with_context(fmt::format("recipe {}:{}", recipe.name, spec.line), [&] {
      if (!recipe.calibration.statistics.empty())
        throw Error(fmt::format("{} changes the inputs that cached statistics are of", spec.name))
            .set_hint("leave out calibration statistics");
      transforms.push_back(make_transform(spec.name, spec.options));
      transforms.back()->leaves(config);
    });
  return transforms;
}

Tuning plan_tuning(const Recipe& recipe, const std::vector<SitePlan>& sites) {
  return with_context(fmt::format("recipe {}", recipe.name), [&] {
    const Tuning tuning = make_tuning(*recipe.tune);
    const bool has_scales = std::ranges::any_of(
        sites, [](const SitePlan& site) { return !site.keep && site.name.starts_with("layers."); });
    if (!has_scales && !tuning.norms)
      throw Error("tune: no site of a block is quantized, and norms are left out: nothing is left to train");
    return tuning;
  });
}

// What tune() holds at its fullest: the tables of two models and a block with its gradient for each of two
// windows, the last residual stream of all windows and those of a step's at every block, and four numbers
// beside each that is trained.
int64_t estimate_tuning_ram(const Plan& plan, int64_t block_bytes) {
  const ModelConfig& c = plan.config;
  const int64_t tokens = plan.tuning->windows * plan.recipe.calibration.tokens;
  const int64_t of_step = plan.tuning->batch * plan.recipe.calibration.tokens;
  int64_t numbers = 0;
  for (const SitePlan& site : plan.sites)
    if (!site.keep)
      numbers += site.rows * (plan.tuning->scales == Tuning::Scales::groups && !site.scheme.two_level()
                                  ? site.scheme.groups(site.cols)
                                  : 1);
  return 2 * c.vocab * c.hidden * 4 + 3 * block_bytes + 64 * c.vocab * 4 * 12 +
         (tokens + of_step * int64_t(c.layers.size())) * c.hidden * 4 + numbers * 24 + (200 << 20);
}

// What compress() holds at its fullest: the table, a block twice (float and as codes), the walking windows
// and one Hessian with its factorization in double.
int64_t estimate_ram(const Plan& plan) {
  const ModelConfig& c = plan.config;
  int64_t block = 0, widest = c.hidden;
  for (const LayerShape& l : c.layers) {
    const int64_t attention = l.head_dim * (2 * l.heads + 2 * l.kv_heads);
    block = std::max(block, c.hidden * (attention + 3 * l.ffn));
    widest = std::max({widest, l.ffn, l.heads * l.head_dim});
  }
  const int64_t table = c.vocab * c.hidden * 4;
  int64_t bytes = 2 * block * 4 + table + (64 << 20);
  if (plan.needs_statistics()) {
    const int64_t tokens = plan.recipe.calibration.windows * plan.recipe.calibration.tokens;
    const int64_t ahead = plan.transforms.empty() ? 0 : 1;  // a copy of the walk, to see a block's inputs
    const int64_t streams = (plan.needs_two_streams() ? 2 : 1) + ahead;
    bytes += streams * (tokens * (c.hidden + widest) + widest * widest) * 4;
    bytes += widest * widest * 3 * 8 + (200 << 20);
    // The way back keeps the residual stream of its windows at every block.
    if (plan.is_open())
      bytes += std::min(plan.recipe.calibration.windows, kSensitivityWindows) *
               plan.recipe.calibration.tokens * c.hidden * 4 * int64_t(c.layers.size());
  }
  if (plan.tuning) bytes = std::max(bytes, estimate_tuning_ram(plan, block * 4));
  return bytes;
}

// "gptq, one of int4-g32-s8 | int6-g32-s8": candidates of one rule differ in their scheme alone.
std::string treatment_text(const std::vector<SitePlan>& candidates) {
  if (candidates.size() == 1) return candidates.front().treatment();
  std::string text = "one of ";
  for (const SitePlan& c : candidates)
    text += (&c == &candidates.front() ? "" : " | ") + (c.keep ? c.treatment() : scheme_text(c.scheme));
  return text;
}

// "layers.3.mlp.down_proj" -> "layers.*.mlp.down_proj": sites of one kind share a line of the table.
std::string kind_of(const std::string& name) {
  if (!name.starts_with("layers.")) return name;
  return fmt::format("layers.*.{}", part_in_layer(name));
}

std::string budget_place(const Recipe& recipe) { return fmt::format("recipe {}: budget", recipe.name); }

// What the sites may take together. Throws Error when no choice, or every choice, stays within it.
int64_t budget_for_sites(const Plan& plan, const Checkpoint& checkpoint) {
  const Budget& budget = *plan.recipe.budget;
  if (!plan.is_open())
    throw Error(fmt::format("{}: no rule leaves it a choice", budget_place(plan.recipe)))
        .set_hint("give a rule a list: scheme: [iq4nl-g32-s8, int6-g32-s8]");
  int64_t beside = 0, bytes = 0;
  if (budget.bytes != 0) {
    beside = plan.target->beside_bytes(plan.config, checkpoint.tokenizer());
    bytes = budget.bytes - beside;
  } else {
    bytes = int64_t(budget.bits_per_weight * double(plan.weights) / 8);
  }
  const auto in_its_terms = [&](int64_t weights) {
    return budget.bytes != 0
               ? bytes_text(weights + beside)
               : fmt::format("{:.3f} bits per weight", 8 * double(weights) / double(plan.weights));
  };
  if (bytes < plan.weight_bytes || bytes > plan.largest_bytes())
    throw Error(fmt::format("{}: {} is {} what the candidates take: {} to {}", budget_place(plan.recipe),
                            budget_text(budget), bytes < plan.weight_bytes ? "below" : "above",
                            in_its_terms(plan.weight_bytes), in_its_terms(plan.largest_bytes())));
  return bytes;
}

}  // namespace

unsigned SitePlan::needs() const {
  if (!quantizer) return kNeedNothing;
  unsigned needs = quantizer->needs();
  if (correction) needs |= kNeedHessian | kNeedCross;
  if (!refiners.empty()) needs |= kNeedHessian;
  return needs;
}

std::string SitePlan::treatment() const {
  if (keep) return fmt::format("keep {}", dtype_name(*keep));
  std::string text = fmt::format("{} {}", method, scheme_text(scheme));
  if (correction) text += ", " + correction_text(*correction);
  if (!refiners.empty()) text += fmt::format(", refined {} x", refiners.size());
  return text;
}

bool Plan::is_open() const {
  return std::ranges::any_of(candidates, [](const auto& c) { return c.size() > 1; });
}

int64_t Plan::largest_bytes() const {
  int64_t bytes = 0;
  for (const auto& c : candidates) bytes += c.back().bytes;
  return bytes;
}

const SitePlan& Plan::site(std::string_view name) const {
  const auto found =
      std::find_if(sites.begin(), sites.end(), [&](const SitePlan& s) { return s.name == name; });
  EDGEQ_CHECK(found != sites.end(), "every site of the model is planned");
  return *found;
}

unsigned Plan::needs(std::span<const std::string> names) const {
  unsigned needs = kNeedNothing;
  for (const std::string& name : names) needs |= site(name).needs();
  return needs;
}

Options target_options(Options options, const Placed& placed) {
  if (placed.zeros_from_one) options.set("zeros", "from_one");
  return options;
}

bool Plan::needs_statistics() const {
  return is_open() || recipe.calibration.inputs == Activations::int8_static ||
         std::ranges::any_of(transforms, [](const auto& t) { return t->needs() != kNeedNothing; }) ||
         std::ranges::any_of(sites, [](const SitePlan& s) { return s.needs() != kNeedNothing; });
}

bool Plan::needs_two_streams() const {
  return std::any_of(sites.begin(), sites.end(),
                     [](const SitePlan& s) { return (s.needs() & kNeedCross) != 0; });
}

Plan make_plan(const Recipe& recipe, const Checkpoint& checkpoint) {
  Plan plan;
  plan.recipe = recipe;
  plan.target = parse_target(recipe.target);
  plan.config = checkpoint.config();
  with_context(recipe.target, [&] { plan.target->check(plan.config); });
  const auto shapes = all_sites(plan.config);
  refuse_idle_rules(recipe, plan.config, shapes);
  for (const SiteShape& shape : shapes) {
    plan.candidates.push_back(plan_site(recipe, *plan.target, shape, checkpoint));
    plan.sites.push_back(plan.candidates.back().front());
    plan.weight_bytes += plan.sites.back().bytes;
    plan.weights += shape.rows * shape.cols;
  }
  plan.transforms = plan_transforms(recipe, plan.config);
  if (recipe.budget) plan.budget_bytes = budget_for_sites(plan, checkpoint);
  if (recipe.tune) plan.tuning = plan_tuning(recipe, plan.sites);
  const CalibrationSpec& c = recipe.calibration;
  if (c.inputs != Activations::f32 && !c.statistics.empty())
    throw Error(fmt::format("recipe {}: inputs {} cannot be had of cached statistics, which are of floats",
                            recipe.name, activations_text(c.inputs)))
        .set_hint("leave out calibration statistics");
  plan.peak_ram_bytes = estimate_ram(plan);
  return plan;
}

Plan choose(Plan plan, std::span<const int> picks) {
  plan.weight_bytes = 0;
  for (size_t i = 0; i < plan.sites.size(); ++i) {
    plan.sites[i] = plan.candidates[i][size_t(picks[i])];
    plan.candidates[i] = {plan.sites[i]};
    plan.weight_bytes += plan.sites[i].bytes;
  }
  return plan;
}

std::string plan_text(const Plan& plan) {
  struct Line {
    std::string kind, treatment, source, shape;
    int64_t count = 0, bytes = 0;
  };
  std::vector<Line> lines;
  for (size_t i = 0; i < plan.sites.size(); ++i) {
    const SitePlan& s = plan.sites[i];
    const Line line{kind_of(s.name), treatment_text(plan.candidates[i]), s.source,
                    fmt::format("{} x {}", s.rows, s.cols)};
    auto at = std::find_if(lines.begin(), lines.end(), [&](const Line& l) {
      return l.kind == line.kind && l.treatment == line.treatment && l.source == line.source &&
             l.shape == line.shape;
    });
    if (at == lines.end()) at = lines.insert(lines.end(), line);
    at->count += 1;
    at->bytes += s.bytes;
  }
  std::string text = fmt::format("{:<26} {:>4}  {:>14}  {:<6} {:<26} {:>9}\n", "site", "n", "rows x cols",
                                 "from", "becomes", "bytes");
  for (const Line& l : lines)
    text += fmt::format("{:<26} {:>4}  {:>14}  {:<6} {:<26} {:>9}\n", l.kind, l.count, l.shape, l.source,
                        l.treatment, bytes_text(l.bytes));
  std::map<std::string, int64_t> notes;
  for (const SitePlan& s : plan.sites)
    if (!s.note.empty()) ++notes[fmt::format("{}: {}", kind_of(s.name), s.note)];
  for (const auto& [note, count] : notes) text += fmt::format("note: {} ({} sites)\n", note, count);
  for (size_t i = 0; i < plan.transforms.size(); ++i) {
    text += fmt::format("transform: {}\n", plan.recipe.transforms[i].name);
    for (const std::string& clause : plan.transforms[i]->leaves(plan.config))
      text += fmt::format("note: {} leaves a stage as it is: {}\n", plan.recipe.transforms[i].name, clause);
  }
  if (plan.tuning) {
    const Tuning& tuning = *plan.tuning;
    text += fmt::format("tune: {} on {} windows, {} held out, {} steps of {} at most\n", tuned_text(tuning),
                        tuning.windows - heldout_windows(tuning), heldout_windows(tuning),
                        tuning.epochs * steps_per_epoch(tuning), tuning.batch);
  }
  if (plan.is_open())
    text += fmt::format("a budget of {} chooses; its weights take {}, the candidates {} to {}\n",
                        budget_text(*plan.recipe.budget), bytes_text(plan.budget_bytes),
                        bytes_text(plan.weight_bytes), bytes_text(plan.largest_bytes()));
  text += fmt::format(
      "{} sites, {} of weights, {:.3f} bits per weight, about {} of memory while quantizing\n",
      plan.sites.size(), bytes_text(plan.is_open() ? plan.budget_bytes : plan.weight_bytes),
      plan.is_open() ? 8.0 * double(plan.budget_bytes) / double(plan.weights) : plan.bits_per_weight(),
      bytes_text(plan.peak_ram_bytes));
  return text;
}

}  // namespace edgeq
