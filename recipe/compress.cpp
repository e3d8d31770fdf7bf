// SPDX-License-Identifier: Apache-2.0
#include "recipe/compress.h"

#include <fmt/format.h>

#include <memory>

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

// Where the statistics of a stage come from: the walking windows, a cache, or nowhere.
class Statistics {
 public:
  Statistics(const CompressInputs& in)
      : in_(in), walks_(in.plan.needs_statistics() && in.statistics == nullptr) {}
  bool walks() const { return walks_; }

  InputStats of(const std::string& name, int64_t width, unsigned needs, const Walk* walk) const {
    if (walk != nullptr) return walk->stats(needs);
    if (in_.statistics == nullptr) return unit_stats(width, needs);
    const auto found = in_.statistics->find(name);
    if (found == in_.statistics->end() || found->second.width() != width)
      throw Error(fmt::format("the statistics have no input {} of width {}", name, width));
    if ((needs & kNeedHessian) && found->second.hessian.empty())
      throw Error(fmt::format("the statistics of {} hold no Hessian", name));
    return found->second;
  }

 private:
  const CompressInputs& in_;
  bool walks_;
};

// A part that is in the journal is put back; otherwise `make` computes it and it is committed.
template <class Make>
PartResult once(Journal& journal, const std::string& part, Make&& make) {
  if (journal.has(part)) return journal.load(part);
  PartResult result = make();
  journal.commit(result);
  return result;
}

// The table is compressed before the walk starts, so that the walk reads what will ship. A tied table is also
// the head, a matrix product: its inputs are the float model's final hidden states.
void compress_table(const CompressInputs& in, const Statistics& statistics, Ends& ends, Journal& journal,
                    const Progress& progress) {
  const SitePlan& plan = in.plan.site("embedding");
  const unsigned needs = in.plan.needs(std::vector<std::string>{"embedding"});
  const PartResult done = once(journal, "embedding", [&] {
    InputStats stats = unit_stats(plan.cols, needs);
    if (ends.head.weight.empty() && needs != kNeedNothing) {
      if (statistics.walks()) {
        Walk walk(in.model, in.windows, ends);
        for (int b = 0; b < int(in.plan.config.layers.size()); ++b) {
          walk.pass(in.model.load(b));
          report_progress(progress, "walk to the head", b + 1, int64_t(in.plan.config.layers.size()));
        }
        walk.finish(ends);
        stats = walk.stats(needs);
      } else {
        stats = statistics.of("head", plan.cols, needs, nullptr);
      }
    }
    PartResult result{.part = "embedding"};
    result.sites.push_back(compress_site(plan, ends.embedding, stats));
    result.vectors.push_back(ends.norm);
    return result;
  });
  restore_site(done.site("embedding"), ends.embedding);
}

void compress_block(const CompressInputs& in, const Statistics& statistics, Block& block, Walk* walk,
                    Journal& journal) {
  PartResult result{.part = fmt::format("layers.{}", block.index), .vectors = block.others};
  if (walk != nullptr) walk->enter(block);
  for (int s = 0; s < int(block.stages.size()); ++s) {
    const Stage& stage = block.stages[size_t(s)];
    const InputStats stats =
        statistics.of(stage_name(block, s), block.sites[size_t(stage.sites[0])].weight.cols(),
                      stage_needs(in.plan, block, stage), walk);
    for (int i : stage.sites) {
      check_interrupt();
      Site& site = block.sites[size_t(i)];
      result.sites.push_back(compress_site(in.plan.site(site.name), site, stats));
    }
    if (walk != nullptr) walk->step(block, s);
  }
  journal.commit(result);
}

void restore_block(const PartResult& done, Block& block) {
  for (Site& site : block.sites) restore_site(done.site(site.name), site);
}

}  // namespace

void compress(const CompressInputs& in, Journal& journal, const Progress& progress) {
  const Statistics statistics(in);
  const int blocks = int(in.plan.config.layers.size());
  Ends ends = in.model.ends();
  compress_table(in, statistics, ends, journal, progress);
  std::unique_ptr<Walk> walk;
  if (statistics.walks()) walk = std::make_unique<Walk>(in.model, in.windows, ends);
  for (int b = 0; b < blocks; ++b) {
    check_interrupt();
    Block block = in.model.load(b);
    if (const std::string part = fmt::format("layers.{}", b); !journal.has(part)) {
      compress_block(in, statistics, block, walk.get(), journal);
    } else if (walk != nullptr) {
      restore_block(journal.load(part), block);
      walk->pass(block);
    }
    report_progress(progress, "quantize", b + 1, blocks);
  }
  if (ends.head.weight.empty() || journal.has("head")) return;
  if (walk != nullptr) walk->finish(ends);
  const unsigned needs = in.plan.needs(std::vector<std::string>{"head"});
  const InputStats stats = statistics.of("head", ends.head.weight.cols(), needs, walk.get());
  PartResult result{.part = "head"};
  result.sites.push_back(compress_site(in.plan.site("head"), ends.head, stats));
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
