// SPDX-License-Identifier: Apache-2.0
#include "cli/kv_sweep.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/open_model.h"
#include "cli/progress_bar.h"
#include "core/text.h"
#include "eval/json.h"
#include "eval/memory.h"
#include "eval/perplexity.h"
#include "models/corpus.h"
#include "runtime/runtime.h"

namespace edgeq {
namespace {

void print_row(const std::string& kv, const OpenModel& open, const TextQuality& q) {
  const Divergence& d = *q.divergence;
  fmt::print("{:<7} {:>10} {:>10.5f} {:>8.5f} {:>8.5f} {:>8.4f} {:>8.2f} {:>10.4f}\n", kv,
             bytes_text(open.model->kv_bytes_per_token()), d.kl_mean, d.kl_standard_error, d.kl_median,
             d.kl_p99, 100 * d.top1_agreement, q.perplexity);
}

std::string row_json(const OpenModel& open, const TextQuality& q) {
  ModelFacts facts = facts_of(open);
  facts.isa = active_isa();
  facts.peak_rss_bytes = peak_rss_bytes();
  return evaluation_json({.text = q, .tasks = {}, .reference_tasks = {}}, facts);
}

}  // namespace

void sweep_kv(const KvSweep& sweep) {
  std::vector<KvScheme> schemes;
  for (const std::string& kv : sweep.kv) schemes.push_back(parse_kv_scheme(kv));
  const auto open = [&](const KvScheme& kv) {
    return open_runtime_model(
        sweep.model,
        {.threads = sweep.threads, .activations = Activations::f32, .kv = kv, .reach = sweep.reach});
  };
  const OpenModel reference = open({});
  const Corpus corpus = read_corpus(sweep.text, reference.tokenizer);
  const Windows windows = cut_windows(corpus, sweep.context, sweep.windows);
  if (!sweep.json)
    fmt::print(
        "{}, {}, {} windows of {} tokens, second half scored, float activations; against f32, {} a token\n"
        "kv         a token    KL mean       +-   median      p99  top-1 % perplexity\n",
        sweep.model, corpus.name, windows.count(), sweep.context,
        bytes_text(reference.model->kv_bytes_per_token()));
  std::vector<std::string> objects;
  for (size_t i = 0; i < schemes.size(); ++i) {
    const OpenModel model = open(schemes[i]);
    ProgressBar bar(sweep.quiet || sweep.json);
    const TextQuality q = measure_text_quality(*model.model, reference.model.get(), windows, bar.callback());
    bar.finish_line();
    if (sweep.json) {
      objects.push_back(row_json(model, q));
    } else {
      print_row(sweep.kv[i], model, q);
    }
  }
  if (sweep.json) fmt::print("[{}]\n", fmt::join(objects, ",\n"));
}

}  // namespace edgeq
