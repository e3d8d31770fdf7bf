// SPDX-License-Identifier: Apache-2.0
#include "recipe/compress.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "core/error.h"
#include "core/interrupt.h"
#include "models/names.h"
#include "recipe/compress_site.h"
#include "recipe/walk.h"

namespace edgeq {
namespace {

unsigned stage_needs(const Plan& plan, const Block& block, const Stage& stage) {
  std::vector<std::string> names;
  for (int i : stage.sites) names.push_back(block.sites[size_t(i)].name);
  return plan.needs(names);
}

// What is known of an input without a walk: what a cache says, or nothing.
InputStats stats_without_walk(const CompressInputs& in, const std::string& name, int64_t width,
                              unsigned needs) {
  if (in.statistics == nullptr) return unit_stats(width, needs);
  const auto found = in.statistics->find(name);
  if (found == in.statistics->end() || found->second.width() != width)
    throw Error(fmt::format("the statistics have no input {} of width {}", name, width));
  if ((needs & kNeedHessian) && found->second.hessian.empty())
    throw Error(fmt::format("the statistics of {} hold no Hessian", name));
  if (needs & kNeedCross)
    throw Error(
        fmt::format("the statistics of {} are of the float model alone; a correction needs both", name));
  return found->second;
}

bool walks(const CompressInputs& in) { return in.plan.needs_statistics() && in.statistics == nullptr; }

// A part that is in the journal is put back; otherwise `make` computes it and it is committed.
template <class Make>
PartResult once(Journal& journal, const std::string& part, Make&& make) {
  if (journal.has(part)) return journal.load(part);
  PartResult result = make();
  journal.commit(result);
  return result;
}

// The current inputs as the recipe wants them seen; float weights read them as they are. Returns their static
// scale, or 0.
template <class Walking>
float round_inputs(const CompressInputs& in, std::span<const SitePlan* const> readers, Walking& walk) {
  if (std::ranges::all_of(readers, [](const SitePlan* site) { return site->keep.has_value(); })) return 0;
  return walk.round_inputs(in.plan.recipe.calibration.inputs, in.plan.recipe.calibration.observer);
}

std::vector<const SitePlan*> readers_of(const Plan& plan, const Block& block, int stage) {
  std::vector<const SitePlan*> readers;
  for (int i : block.stages[size_t(stage)].sites) readers.push_back(&plan.site(block.sites[size_t(i)].name));
  return readers;
}

// A tied table is also the head, a matrix product: its inputs are the float model's final hidden states.
// Their static scale, or 0, is left in `scale`.
InputStats final_stats(const CompressInputs& in, const Ends& ends, unsigned needs, const Progress& progress,
                       float& scale) {
  const int blocks = int(in.plan.config.layers.size());
  Walk walk(in.model, in.windows, ends);
  for (int b = 0; b < blocks; ++b) {
    walk.pass(in.model.load(b));
    report_progress(progress, "walk to the head", b + 1, blocks);
  }
  walk.finish(ends);
  const SitePlan* table = &in.plan.site("embedding");
  scale = round_inputs(in, std::span(&table, 1), walk);
  return walk.stats(needs);
}

// The table is compressed before the walk starts, so that the walk reads what will ship.
void compress_table(const CompressInputs& in, Ends& ends, Journal& journal, const Progress& progress) {
  const SitePlan& plan = in.plan.site("embedding");
  const PartResult done = once(journal, "embedding", [&] {
    const bool is_static = in.plan.recipe.calibration.inputs == Activations::int8_static;
    const bool is_head =
        ends.head.weight.empty() && (plan.needs() != kNeedNothing || (is_static && !plan.keep));
    float scale = 0;
    const InputStats stats = !is_head    ? unit_stats(plan.cols, plan.needs())
                             : walks(in) ? final_stats(in, ends, plan.needs(), progress, scale)
                                         : stats_without_walk(in, "head", plan.cols, plan.needs());
    PartResult result{.part = "embedding"};
    result.sites.push_back(compress_site(plan, ends.embedding, stats));
    result.sites.back().input_scale = scale;
    result.vectors = ends.others;
    return result;
  });
  restore_site(done.site("embedding"), ends.embedding);
}

// A block of the float model as it is quantized: the same function in other weights. The float model walks
// through it as well, so that both streams read inputs on the same scale.
Block load_transformed(const CompressInputs& in, int index, const Streams* streams) {
  Block block = in.model.load(index);
  if (in.plan.transforms.empty()) return block;
  std::vector<std::optional<QuantScheme>> schemes;
  for (const Site& site : block.sites) {
    const SitePlan& plan = in.plan.site(site.name);
    schemes.push_back(plan.keep ? std::nullopt : std::optional(plan.scheme));
  }
  for (const auto& transform : in.plan.transforms) {
    check_interrupt();
    std::vector<InputStats> stats;
    if (transform->needs() != kNeedNothing) stats = streams->look_ahead(block, transform->needs());
    with_context(layer_part(index), [&] {
      transform->apply(block, {.config = in.plan.config, .stats = stats, .schemes = schemes});
    });
  }
  return block;
}

// Leaves in `block` what the codes mean, stage by stage: each stage reads what the compressed ones before it
// give.
PartResult compress_block(const CompressInputs& in, const Block& original, Block& block, Streams* streams) {
  PartResult result{.part = layer_part(block.index), .vectors = block.others};
  if (streams != nullptr) streams->enter(original, block);
  for (int s = 0; s < int(block.stages.size()); ++s) {
    const Stage& stage = block.stages[size_t(s)];
    const float scale = streams != nullptr ? round_inputs(in, readers_of(in.plan, block, s), *streams) : 0;
    const unsigned needs = stage_needs(in.plan, block, stage);
    const int64_t width = block.sites[size_t(stage.sites[0])].weight.cols();
    const InputStats stats = streams != nullptr ? streams->stats(needs, stage.adds_to_hidden)
                                                : stats_without_walk(in, stage_name(block, s), width, needs);
    for (int i : stage.sites) {
      check_interrupt();
      Site& site = block.sites[size_t(i)];
      result.sites.push_back(compress_site(in.plan.site(site.name), site, stats));
      result.sites.back().report.last_quarter_change = stats.last_quarter_change;
      result.sites.back().input_scale = scale;
    }
    if (streams != nullptr) streams->step(original, block, s);
  }
  return result;
}

// Puts a block of the journal back into `block`, and takes the streams past it as when it was made.
void pass_finished_block(const CompressInputs& in, const PartResult& done, const Block& original,
                         Block& block, Streams& streams) {
  for (Site& site : block.sites) restore_site(done.site(site.name), site);
  streams.enter(original, block);
  for (int s = 0; s < int(block.stages.size()); ++s) {
    round_inputs(in, readers_of(in.plan, block, s), streams);
    streams.step(original, block, s);
  }
}

}  // namespace

void compress(const CompressInputs& in, Journal& journal, const Progress& progress) {
  // Interrupted later on: nothing is left to walk for.
  const auto held = [&](const std::string& part) { return journal.has(part); };
  if (std::ranges::all_of(part_names(in.plan.config), held)) return;
  const int blocks = int(in.plan.config.layers.size());
  Ends ends = in.model.ends();
  compress_table(in, ends, journal, progress);
  std::unique_ptr<Streams> streams;
  if (walks(in)) {
    const auto count = in.plan.needs_two_streams() ? Streams::Count::two : Streams::Count::one;
    streams = std::make_unique<Streams>(in.model, in.windows, ends, count);
  }
  for (int b = 0; b < blocks; ++b) {
    check_interrupt();
    const Block original = load_transformed(in, b, streams.get());
    Block block = original;
    if (!journal.has(layer_part(b))) {
      journal.commit(compress_block(in, original, block, streams.get()));
    } else if (streams != nullptr) {
      pass_finished_block(in, journal.load(layer_part(b)), original, block, *streams);
    }
    report_progress(progress, "quantize", b + 1, blocks);
  }
  if (ends.head.weight.empty() || journal.has("head")) return;
  if (streams != nullptr) streams->finish(ends);
  const SitePlan& head = in.plan.site("head");
  const SitePlan* reader = &head;
  const float scale = streams != nullptr ? round_inputs(in, std::span(&reader, 1), *streams) : 0;
  const InputStats stats = streams != nullptr ? streams->stats(head.needs(), /*adds_to_hidden=*/false)
                                              : stats_without_walk(in, "head", head.cols, head.needs());
  PartResult result{.part = "head"};
  result.sites.push_back(compress_site(head, ends.head, stats));
  result.sites.back().input_scale = scale;
  journal.commit(result);
}

StatsMap float_statistics(const BlockwiseModel& model, const Windows& windows, unsigned needs,
                          const Progress& progress) {
  StatsMap all;
  const Ends ends = model.ends();
  const int blocks = int(model.config().layers.size());
  Walk walk(model, windows, ends);
  for (int b = 0; b < blocks; ++b) {
    const Block block = model.load(b);
    walk.enter(block);
    for (int s = 0; s < int(block.stages.size()); ++s) {
      all[stage_name(block, s)] = walk.stats(needs);
      walk.step(block, s);
    }
    report_progress(progress, "calibrate", b + 1, blocks);
  }
  walk.finish(ends);
  all["head"] = walk.stats(needs);
  return all;
}

}  // namespace edgeq
