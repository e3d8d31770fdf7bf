// SPDX-License-Identifier: Apache-2.0
#include "cli/prune_proof.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/open_model.h"
#include "core/text.h"
#include "models/coded_checkpoint.h"
#include "models/names.h"
#include "models/sites.h"
#include "recipe/prove.h"
#include "recipe/pruned_model.h"
#include "recipe/ship.h"

namespace edgeq {
namespace {

std::vector<ScoredUnit> scored(const std::vector<double>& scores, const std::vector<int64_t>& kept) {
  std::vector<ScoredUnit> units;
  for (int64_t u = 0; u < std::ssize(scores); ++u)
    units.push_back({scores[size_t(u)], std::ranges::count(kept, u) != 0});
  return units;
}

}  // namespace

PruneReport prune_report(const PruneSpec& spec, const ModelConfig& before, const Cuts& cuts) {
  const ModelConfig& after = cuts.config;
  PruneReport r{.score = spec.shares.heads != 0 || spec.shares.ffn != 0 ? spec.score : "",
                .block_score = spec.shares.blocks != 0 ? spec.block_score : "",
                .compensated = compensates(spec),
                .per_layer = spec.per_layer,
                .weights_before = before.weight_count(),
                .weights_after = after.weight_count(),
                .channels_before = before.layers[0].ffn,
                .channels_after = after.layers[0].ffn,
                .tokens_before = before.vocab,
                .tokens_after = after.vocab,
                .blocks_before = std::ssize(before.layers),
                .blocks_after = std::ssize(after.layers)};
  // The first layer stands for all where they are alike.
  for (size_t l = 0; l < (spec.per_layer ? after.layers.size() : 1); ++l) {
    const LayerShape &was = before.layers[size_t(cuts.layers[l].block)], &is = after.layers[l];
    r.heads_before += was.heads;
    r.heads_after += is.heads;
    r.kv_heads_before += was.kv_heads;
    r.kv_heads_after += is.kv_heads;
  }
  std::vector<int64_t> blocks;
  for (const LayerCut& layer : cuts.layers) {
    r.layers.push_back(layer.block);
    blocks.push_back(layer.block);
    if (!layer.head_scores.empty()) r.heads.push_back(scored(layer.head_scores, layer.kept.heads));
    for (const SiteZeros& site : layer.zeros)
      r.zeros.push_back({layer_site(int64_t(r.layers.size()) - 1, site.part), site.share});
  }
  r.blocks = scored(cuts.block_scores, blocks);
  if (spec.mask) r.mask = fmt::format("{} by {}", sparsity_text(spec.mask->sparsity), spec.mask->method);
  return r;
}

namespace {

// The unpruned model rounded to nearest in groups of 32, without text.
class RoundedModel final : public CodedModel {
 public:
  RoundedModel(std::shared_ptr<const Checkpoint> checkpoint, int bits)
      : source_(coded_model(std::move(checkpoint))), bits_(bits) {}

  const std::string& path() const override { return source_->path(); }
  const ModelConfig& config() const override { return source_->config(); }
  Tokenizer tokenizer() const override { return source_->tokenizer(); }
  std::string provenance_json() const override { return source_->provenance_json(); }
  WeightForm form(std::string_view site) const override {
    WeightForm form = source_->form(site);
    form.scheme = parse_scheme(fmt::format("int{}-{}-sym", bits_, form.cols % 32 == 0 ? "g32" : "channel"));
    return form;
  }
  CodedWeight weight(std::string_view site) const override {
    const WeightForm form = this->form(site);
    const Tensor floats = dequantize(source_->weight(site), 0, form.rows);
    return {.codes = round_to_nearest(floats, {.form = form}), .kept = {}};
  }
  Tensor vector(std::string_view name) const override { return source_->vector(name); }

  int64_t bytes() const {
    double bits = 0;
    for (const SiteShape& site : all_sites(config()))
      bits += double(site.rows * site.cols) * form(site.name).scheme->bits_per_weight(site.cols);
    return int64_t(bits / 8);
  }

 private:
  std::unique_ptr<CodedModel> source_;
  int bits_;
};

// The finest that fits into `bytes`, or the coarsest.
std::shared_ptr<const RoundedModel> rounded_to(const std::shared_ptr<const Checkpoint>& checkpoint,
                                               int64_t bytes, int& bits) {
  for (bits = 8;; --bits) {
    auto model = std::make_shared<RoundedModel>(checkpoint, bits);
    if (model->bytes() <= bytes || bits == 3) return model;
  }
}

}  // namespace

void prove_pruned(const PruneProof& job, ProgressBar& bar) {
  PruneReport pruning = prune_report(job.spec, job.before, job.cut->cuts());
  if (job.material == nullptr) {
    if (job.json)
      fmt::print("{{\"output\": \"{}\", \"weights\": {}}}\n", job.output, pruning.weights_after);
    else if (job.spec.mask)
      fmt::print("{}\n", zeros_summary(pruning));
    return;
  }
  const auto& [spec, corpus, windows, tasks] = *job.material;
  const Windows none;
  const RuntimeOptions options{.threads = job.threads};
  const OpenModel reference =
      job.spec.vocab ? open_unwritten(*job.checkpoint, 2 * job.checkpoint->config().weight_count(), options)
                     : open_runtime_model(job.checkpoint->path(), options);
  Report report = blank_report(corpus, reference, spec.context);
  report.title = "Pruned";
  report.model = std::filesystem::path(job.checkpoint->path()).lexically_normal().filename().string();
  report.recipe = "prune";
  report.target = job.target;
  report.model_hash = job.checkpoint->hash();
  if (job.calibration != nullptr) describe_calibration(*job.calibration, windows, report);
  const auto add = [&, &windows = windows, &tasks = tasks](const std::string& name, const std::string& file,
                                                           const OpenModel& open, double seconds) {
    report.rows.push_back(prove({.name = name,
                                 .file = file,
                                 .model = *open.model,
                                 .facts = facts_of(open),
                                 .seconds = seconds,
                                 .sites = {},
                                 .budget = {}},
                                *reference.model, {.windows = windows, .tasks = tasks, .calibration = none},
                                {}, bar.callback()));
  };
  const OpenModel written = open_runtime_model(job.output, options);
  // Bytes as 16-bit floats, which is what quantized ones have to be held against.
  const int64_t bytes = 2 * pruning.weights_after;
  int bits = 0;
  const auto rounded = rounded_to(job.checkpoint, bytes, bits);
  add(fmt::format("not pruned, int{}", bits), "",
      open_unwritten(*as_checkpoint(rounded), rounded->bytes(), options), 0);
  pruning.equal_bytes = fmt::format(
      "The weights that are left take {} as 16-bit floats. All of the model's take {} as int{} in groups of "
      "32, "
      "rounded to nearest without text, and are {:.5f} from the float model",
      bytes_text(bytes), bytes_text(rounded->bytes()), bits, report.rows.back().quality.divergence->kl_mean);
  if (compensates(job.spec)) {
    const auto plain = as_checkpoint(std::make_shared<PrunedModel>(
        job.checkpoint, job.cut->cuts(), job.spec.mask ? as_checkpoint(job.cut) : nullptr));
    add("plain cut", "", open_unwritten(*plain, written.file_bytes, options), 0);
  }
  const std::string cut = compensates(job.spec) ? "cut, compensated" : "plain cut";
  if (job.healing) {
    const auto before = as_checkpoint(job.cut);
    add(cut, "", open_unwritten(*before, written.file_bytes, options), job.seconds);
  }
  add(job.healing ? "healed" : cut, job.output, written, job.healing ? job.healing->seconds : job.seconds);
  pruning.equal_bytes +=
      fmt::format("; what was cut is {:.5f} from it.", report.rows.back().quality.divergence->kl_mean);
  const ProofSubject floats{.name = job.spec.vocab ? "float, fewer tokens" : "float",
                            .file = job.checkpoint->path(),
                            .model = *reference.model,
                            .facts = facts_of(reference),
                            .seconds = 0,
                            .sites = {},
                            .budget = {}};
  report.rows.insert(report.rows.begin(),
                     reference_row(floats, report.rows.front().quality, tasks, {}, bar.callback()));
  report.pruning = std::move(pruning);
  report.healing = job.healing;
  bar.finish_line();
  const std::string stem = job.output + ".report";
  write_report(report, stem);
  if (job.json) {
    fmt::print("{}\n", report_json(report));
    return;
  }
  fmt::print("\n{}\n{}\n{}{}\nreport {}.html (also .md, .json)\n", report_table(report),
             prune_summary(*report.pruning), job.spec.mask ? zeros_summary(*report.pruning) + "\n" : "",
             report.pruning->equal_bytes, stem);
}

}  // namespace edgeq
