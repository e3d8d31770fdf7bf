// SPDX-License-Identifier: Apache-2.0
#include "recipe/prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "models/names.h"
#include "models/sites.h"
#include "pruning/choose.h"
#include "pruning/mask.h"
#include "recipe/gates.h"
#include "recipe/spread_heads.h"
#include "recipe/walk.h"

namespace edgeq {
namespace {

constexpr char kBlocksPart[] = "blocks", kZeros[] = "zeros.";
constexpr std::string_view kSpreadScore = "taylor";  // compares across layers

bool prunes_units(const PruneSpec& spec) { return spec.shares.heads != 0 || spec.shares.ffn != 0; }

Loss loss_of(const PruneSpec& spec) {
  Loss loss = Loss::none;
  std::string_view reader;
  const auto add = [&](std::string_view name, Loss wanted) {
    if (wanted == Loss::none) return;
    if (loss != Loss::none && loss != wanted)
      throw Error(
          fmt::format("scores {} and {} read gradients of different losses; expected one of them, or another",
                      reader, name));
    loss = wanted;
    reader = name;
  };
  if (prunes_units(spec)) add(spec.score, unit_score(spec.score).loss);
  if (spec.shares.blocks != 0) add(spec.block_score, block_score(spec.block_score).loss);
  if (spec.per_layer) add(kSpreadScore, unit_score(kSpreadScore).loss);
  return loss;
}

// What is known before a text is read: layers that are to differ keep all heads.
CutShares planned_shares(const PruneSpec& spec) {
  CutShares shares = spec.shares;
  if (spec.per_layer) shares.heads = 0;
  return shares;
}

// config: of what is left to mask.
void check_mask(const MaskSpec& mask, const ModelConfig& config) {
  mask_method(mask.method);
  for (int64_t layer = 0; layer < std::ssize(config.layers); ++layer)
    for (const SiteShape& site : layer_sites(config, layer))
      with_context(site.name, [&] { check_columns(mask.sparsity, site.cols); });
}

// 1 - E cos(entering, leaving) of a block.
std::vector<double> influences(const PruneInputs& in, const Progress& progress) {
  const int blocks = int(in.model.config().layers.size());
  Walk walk(in.model, in.windows, in.model.ends());
  std::vector<double> scores;
  for (int b = 0; b < blocks; ++b) {
    check_interrupt();
    std::vector<Tensor> entering;
    for (const State& state : walk.states()) entering.push_back(state.hidden);
    walk.pass(in.model.load(b));
    std::vector<double> cosines(entering.size());
    parallel_for(std::ssize(cosines), [&](int64_t w) {
      const auto x = std::as_const(entering[size_t(w)]).matrix(),
                 y = walk.states()[size_t(w)].hidden.matrix();
      for (int64_t t = 0; t < x.rows; ++t) {
        double xy = 0, xx = 0, yy = 0;
        for (int64_t c = 0; c < x.cols; ++c) {
          xy += double(x(t, c)) * double(y(t, c));
          xx += double(x(t, c)) * double(x(t, c));
          yy += double(y(t, c)) * double(y(t, c));
        }
        if (xx > 0 && yy > 0) cosines[size_t(w)] += xy / std::sqrt(xx * yy) / double(x.rows);
      }
    });
    scores.push_back(1 - std::accumulate(cosines.begin(), cosines.end(), 0.0) / double(cosines.size()));
    report_progress(progress, "influence of blocks", b + 1, blocks);
  }
  return scores;
}

class Pruning {
 public:
  Pruning(const PruneInputs& in, Journal& journal, const Progress& progress)
      : in_(in),
        spec_(in.spec),
        journal_(journal),
        progress_(progress),
        planned_(plan_cuts(in.spec, in.model.config())) {
    if (prunes_units(spec_)) score_ = &unit_score(spec_.score);
    if (spec_.mask) mask_ = &mask_method(spec_.mask->method);
  }

  Cuts run() {
    if (const Loss loss = loss_of(spec_); loss != Loss::none) {
      EDGEQ_CHECK(in_.backward != nullptr, "gradients need a way back");
      gates_ = measure_gates(in_.model, *in_.backward, in_.windows, loss, journal_, progress_);
    }
    Cuts cuts;
    const std::vector<int> blocks = choose_blocks(cuts.block_scores);
    cuts.config = config_after(in_.model.config(), blocks, planned_shares(spec_));
    if (spec_.per_layer) {
      std::vector<std::vector<double>> worth;
      for (const int b : blocks) worth.push_back(gates_[size_t(b)].heads.square);
      spread_heads(cuts.config.layers, worth, spec_.shares.heads, spec_.shares.whole_groups);
    }
    if (prune_needs_text(spec_) &&
        std::ranges::any_of(blocks, [&](int b) { return !journal_.has(layer_part(b)); }))
      streams_ = std::make_unique<Streams>(in_.model, in_.windows, in_.model.ends(),
                                           compensates(spec_) ? Streams::Count::two : Streams::Count::one);
    const int all = int(in_.model.config().layers.size());
    for (int b = 0; b < all; ++b) {
      check_interrupt();
      if (std::ranges::count(blocks, b) != 0) {
        cuts.layers.push_back(cut_layer(b, cuts.config.layers[cuts.layers.size()]));
      } else if (streams_) {
        streams_->leave_out(in_.model.load(b));
      }
      report_progress(progress_, "prune", b + 1, all);
    }
    return cuts;
  }

 private:
  std::vector<int> choose_blocks(std::vector<double>& scores) {
    const int all = int(in_.model.config().layers.size()), stay = int(planned_.layers.size());
    std::vector<int> blocks(size_t(all), 0);
    std::iota(blocks.begin(), blocks.end(), 0);
    if (stay == all) return blocks;
    if (!journal_.has(kBlocksPart)) {
      if (block_score(spec_.block_score).loss == Loss::none) {
        scores = influences(in_, progress_);
      } else {
        for (const BlockGates& gates : gates_) scores.push_back(gates.block.square[0]);
      }
      journal_.commit({.part = kBlocksPart, .sites = {}, .vectors = {named_numbers("scores", scores)}});
    }
    scores = numbers_of<double>(journal_.load(kBlocksPart).vector("scores"));
    std::ranges::stable_sort(blocks, std::ranges::greater(), [&](int b) { return scores[size_t(b)]; });
    blocks.resize(size_t(stay));
    std::ranges::sort(blocks);
    return blocks;
  }

  LayerCut cut_layer(int b, const LayerShape& after) {
    const std::string part = layer_part(b);
    if (journal_.has(part)) {
      const PartResult done = journal_.load(part);
      if (streams_) pass_finished_block(b, done);
      return cut_of(b, done);
    }
    const Block original = in_.model.load(b);
    Block block = original;
    LayerCut cut{.block = b,
                 .kept = whole(in_.model.config().layers[size_t(b)]),
                 .head_scores = {},
                 .channel_scores = {},
                 .zeros = {}};
    with_context(part, [&] {
      if (streams_) streams_->enter(original, block);
      for (int s = 0; s < int(block.stages.size()); ++s) {
        check_interrupt();
        const int reader = block.stages[size_t(s)].sites[0];
        const bool heads = original.sites[size_t(reader)].name == layer_site(b, "attn.o_proj"),
                   channels = original.sites[size_t(reader)].name == layer_site(b, "mlp.down_proj");
        if (heads || channels) cut_stage(original, block, s, after, heads, cut);
        if (mask_ != nullptr) mask_stage(block, s, cut);
        if (streams_) streams_->step(original, block, s);
      }
    });
    journal_.commit(result_of(block, cut));
    return cut_of(b, journal_.load(part));
  }

  // The stage's one site reads heads, or channels: some of them go, and it makes up for them.
  void cut_stage(const Block& original, Block& block, int stage, const LayerShape& after, bool heads,
                 LayerCut& cut) {
    const LayerShape& before = in_.model.config().layers[size_t(block.index)];
    const bool cuts = heads ? after.heads != before.heads : after.ffn != before.ffn;
    unsigned needs = cuts ? score_->needs : unsigned(kNeedNothing);
    const Site& full_reader = original.sites[size_t(block.stages[size_t(stage)].sites[0])];
    if (compensates(spec_)) needs |= kNeedHessian | kNeedCross;
    if (compensates(spec_) && !full_reader.bias.empty()) needs |= kNeedDrift;
    const int64_t width = heads ? before.head_dim : 1;
    InputStats inputs;
    if (streams_ && needs != kNeedNothing)
      inputs = streams_->stats(needs, block.stages[size_t(stage)].adds_to_hidden);
    Site& reader = block.sites[size_t(block.stages[size_t(stage)].sites[0])];
    if (cuts) {
      const UnitFacts facts = facts_of(original, reader, inputs, width, heads);
      const Choice choice =
          heads ? choose_heads(*score_, facts, before, after) : choose_channels(*score_, facts, after.ffn);
      (heads ? cut.head_scores : cut.channel_scores) = choice.scores;
      if (heads) {
        cut.kept.heads = choice.kept.heads;
        cut.kept.kv_heads = choice.kept.kv_heads;
        cut_heads(block, cut.kept, width);
      } else {
        cut.kept.channels = choice.kept.channels;
        cut_channels(block, cut.kept);
      }
    }
    const std::vector<int64_t> columns = columns_of(heads ? cut.kept.heads : cut.kept.channels, width);
    if (compensates(spec_)) {
      Site full = full_reader;
      with_context(full.name, [&] { compensate(full, columns, inputs, spec_.compensation); });
      reader = std::move(full);
    }
    if (cuts && streams_) streams_->keep_columns(columns);
  }

  // On the inputs that the stage reads by now, in the cut model.
  void mask_stage(Block& block, int stage, LayerCut& cut) const {
    InputStats inputs;
    if (streams_ && mask_->needs != kNeedNothing)
      inputs = streams_->stats(mask_->needs, block.stages[size_t(stage)].adds_to_hidden);
    for (const int i : block.stages[size_t(stage)].sites) {
      check_interrupt();
      Site& site = block.sites[size_t(i)];
      with_context(site.name,
                   [&] { mask_weight(*mask_, site.weight.matrix(), inputs, spec_.mask->sparsity); });
      const float* w = site.weight.f32();
      cut.zeros.push_back({std::string(part_in_layer(site.name)),
                           double(std::count(w, w + site.weight.size(), 0.0f)) / double(site.weight.size())});
    }
  }

  UnitFacts facts_of(const Block& original, const Site& reader, const InputStats& inputs, int64_t width,
                     bool heads) const {
    UnitFacts facts{.reader = reader.weight.matrix(), .width = width, .makers = {}, .inputs = &inputs};
    const auto add_maker = [&](std::string_view name) {
      if (const Site* site = find_site(original, name)) facts.makers.push_back(site->weight.matrix());
    };
    if (heads) {
      add_maker("attn.q_proj");
    } else {
      add_maker("mlp.gate_proj");
      add_maker("mlp.up_proj");
    }
    if (!gates_.empty())
      facts.gates = heads ? &gates_[size_t(original.index)].heads : &gates_[size_t(original.index)].channels;
    return facts;
  }

  static PartResult result_of(const Block& block, const LayerCut& cut) {
    PartResult result{.part = layer_part(block.index), .sites = {}, .vectors = block.others};
    for (const Site& site : block.sites) {
      SiteResult& kept =
          result.sites.emplace_back(SiteResult{.name = site.name, .kept = site.weight, .bias = site.bias});
      kept.report = {
          .name = site.name, .scheme = "F32", .rows = site.weight.rows(), .cols = site.weight.cols()};
    }
    result.vectors.push_back(named_numbers("kept.heads", cut.kept.heads));
    result.vectors.push_back(named_numbers("kept.kv_heads", cut.kept.kv_heads));
    result.vectors.push_back(named_numbers("kept.channels", cut.kept.channels));
    if (!cut.head_scores.empty()) result.vectors.push_back(named_numbers("scores.heads", cut.head_scores));
    if (!cut.channel_scores.empty())
      result.vectors.push_back(named_numbers("scores.channels", cut.channel_scores));
    for (const SiteZeros& site : cut.zeros)
      result.vectors.push_back(named_numbers(kZeros + site.part, std::vector<double>{site.share}));
    return result;
  }

  static LayerCut cut_of(int b, const PartResult& part) {
    LayerCut cut{.block = b, .kept = {}, .head_scores = {}, .channel_scores = {}, .zeros = {}};
    const auto kept = [&](std::string_view name) { return numbers_of<int64_t>(part.vector(name)); };
    cut.kept = {kept("kept.heads"), kept("kept.kv_heads"), kept("kept.channels")};
    if (const Tensor* scores = part.find_vector("scores.heads"))
      cut.head_scores = numbers_of<double>(*scores);
    if (const Tensor* scores = part.find_vector("scores.channels"))
      cut.channel_scores = numbers_of<double>(*scores);
    for (const NamedTensor& vector : part.vectors)
      if (vector.name.starts_with(kZeros))
        cut.zeros.push_back({vector.name.substr(sizeof kZeros - 1), double(vector.tensor.f32()[0])});
    return cut;
  }

  // Takes the streams past a block of the journal.
  void pass_finished_block(int b, const PartResult& done) {
    const Block original = in_.model.load(b);
    Block block = original;
    for (Site& site : block.sites) {
      site.weight = done.site(site.name).kept;
      site.bias = done.site(site.name).bias;
    }
    streams_->enter(original, block);
    for (int s = 0; s < int(block.stages.size()); ++s) streams_->step(original, block, s);
  }

  const PruneInputs& in_;
  const PruneSpec& spec_;
  Journal& journal_;
  const Progress& progress_;
  Cuts planned_;
  const ScoreEntry* score_ = nullptr;
  const MaskEntry* mask_ = nullptr;
  std::vector<BlockGates> gates_;
  std::unique_ptr<Streams> streams_;
};

}  // namespace

bool compensates(const PruneSpec& spec) { return spec.compensate && (spec.shares.any() || spec.mask); }

bool prune_needs_text(const PruneSpec& spec) {
  return compensates(spec) || loss_of(spec) != Loss::none ||
         (prunes_units(spec) && unit_score(spec.score).needs != kNeedNothing) || spec.shares.blocks != 0 ||
         (spec.mask && mask_method(spec.mask->method).needs != kNeedNothing);
}

bool prune_needs_gradients(const PruneSpec& spec) { return loss_of(spec) != Loss::none; }

void check_healable(const PruneSpec& spec) {
  if (spec.mask)
    throw Error("healing trains all weights, so the zeros of a mask would be gone; expected one of the two");
}

Cuts plan_cuts(const PruneSpec& spec, const ModelConfig& config) {
  EDGEQ_CHECK(!spec.budget, "shares are found before they are planned");
  if (!spec.shares.any() && !spec.mask && !spec.vocab)
    throw Error("nothing to prune; expected a share of heads, ffn or blocks, a budget or a mask")
        .set_hint("such as --heads 0.33 or --nm 2:4");
  check_shares(spec.shares, config);
  if (spec.per_layer && spec.shares.heads == 0)
    throw Error("heads per layer, and no share of heads; expected one, such as 0.4");
  loss_of(spec);
  const int64_t stay = blocks_after(std::ssize(config.layers), spec.shares.blocks);
  Cuts cuts;
  std::vector<int> blocks(size_t(stay), 0);
  std::iota(blocks.begin(), blocks.end(), 0);
  cuts.config = config_after(config, blocks, planned_shares(spec));
  if (spec.mask) check_mask(*spec.mask, cuts.config);
  for (const int b : blocks) {
    LayerCut& cut = cuts.layers.emplace_back(LayerCut{.block = b,
                                                      .kept = whole(cuts.config.layers[size_t(b)]),
                                                      .head_scores = {},
                                                      .channel_scores = {},
                                                      .zeros = {}});
    // Query heads of the KV heads that stay: the first of each.
    const LayerShape &before = config.layers[size_t(b)], &after = cuts.config.layers[size_t(b)];
    const int64_t group = before.heads / before.kv_heads, group_after = after.heads / after.kv_heads;
    for (int64_t h = 0; h < after.heads; ++h)
      cut.kept.heads[size_t(h)] = h / group_after * group + h % group_after;
  }
  return cuts;
}

std::string prune_key(const PruneSpec& spec) {
  const std::string vocab = !spec.vocab              ? ""
                            : spec.vocab->share == 0 ? "vocab unused\n"
                                                     : fmt::format("vocab {}\n", spec.vocab->share);
  const std::string mask =
      spec.mask ? fmt::format("mask {} {}\n", spec.mask->method, sparsity_text(spec.mask->sparsity)) : "";
  return fmt::format(
      "heads {}{} groups {} ffn {} multiple {} blocks {} scores {} {} compensate {} {} {}\n{}{}",
      spec.shares.heads, spec.per_layer ? " per layer" : "", spec.shares.whole_groups, spec.shares.ffn,
      spec.shares.channel_multiple, spec.shares.blocks, spec.score, spec.block_score, spec.compensate,
      spec.compensation.damping, spec.compensation.residual, mask, vocab);
}

Cuts prune(const PruneInputs& in, Journal& journal, const Progress& progress) {
  return Pruning(in, journal, progress).run();
}

}  // namespace edgeq
