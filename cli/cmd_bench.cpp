// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "cli/kv_option.h"
#include "cli/open_model.h"
#include "cli/reach_option.h"
#include "core/cores.h"
#include "core/text.h"
#include "eval/json.h"
#include "eval/latency.h"
#include "eval/machine.h"
#include "eval/memory.h"
#include "eval/throughput.h"
#include "models/sites.h"
#include "runtime/runtime.h"

namespace edgeq {
namespace {

struct BenchArgs {
  std::string model;
  LatencyOptions latency;
  RuntimeOptions runtime;
  ReachArgs reach;
  std::string kv;
  int64_t parallel = 0;
  bool json = false;
};

// Of one token; attention's own products are not counted.
int64_t layer_multiplies(const ModelConfig& config) {
  int64_t sum = 0;
  for (int64_t layer = 0; layer < std::ssize(config.layers); ++layer)
    for (const SiteShape& site : layer_sites(config, layer)) sum += site.rows * site.cols;
  return sum;
}

void bench_parallel(const OpenModel& open, const BenchArgs& args) {
  const LatencyOptions& options = args.latency;
  const std::vector<Throughput> all = measure_throughput(*open.model, options, args.parallel);
  if (args.json) {
    ModelFacts facts = facts_of(open);
    facts.isa = active_isa();
    facts.peak_rss_bytes = peak_rss_bytes();
    fmt::print("{}\n", throughput_json(all, facts));
    return;
  }
  fmt::print("{}, {}, kernels {}, {} threads, {} prompt and {} generated tokens each, kv {}, {} seen\n",
             args.model, machine_name(), active_isa(), options.threads, options.prompt_tokens, options.tokens,
             kv_scheme_text(open.kv), reach_text(open.reach));
  for (const Throughput& t : all)
    fmt::print(
        "{:>3} in parallel: decode {:.1f} tokens/s ({:.2f} x one), step p50 {:.2f} ms, prefill {:.1f} "
        "tokens/s, pages {}\n",
        t.sequences, t.decode_tokens_per_second,
        t.decode_tokens_per_second / all.front().decode_tokens_per_second, t.step_ms_p50,
        t.prefill_tokens_per_second, bytes_text(t.pool_bytes));
}

void bench(BenchArgs& args) {
  args.runtime.kv = parse_kv_option(args.kv);
  args.runtime.reach = args.reach.reach();
  const OpenModel open = open_runtime_model(args.model, args.runtime);
  args.latency.threads = args.runtime.threads != 0 ? args.runtime.threads : available_cores();
  if (open.reach.limited()) args.latency.seen_tokens = open.reach.tokens();
  ForgetWarning(open.reach, open.model->config()).at(args.latency.prompt_tokens + args.latency.tokens);
  if (args.parallel > 0) return bench_parallel(open, args);
  Latency l = measure_latency(*open.model, args.latency);
  l.prefill_multiplies_per_second =
      double(layer_multiplies(open.model->config())) * l.prefill_tokens_per_second;
  l.int8_peak = probe_int8_peak(l.threads);
  if (args.json) {
    ModelFacts facts = facts_of(open);
    facts.isa = active_isa();
    facts.peak_rss_bytes = l.peak_rss_bytes;
    fmt::print("{}\n", latency_json(l, facts));
    return;
  }
  fmt::print("{}, {}, kernels {}, {} threads\n", args.model, machine_name(), active_isa(), l.threads);
  fmt::print("prefill  {} tokens: {:.1f} tokens/s, first token after {:.1f} ms\n", l.prompt_tokens,
             l.prefill_tokens_per_second, l.first_token_ms);
  fmt::print("         {:.0f} GOP/s in the layers' matrices of {:.0f} GOP/s on registers alone ({:.0f} %)\n",
             2 * l.prefill_multiplies_per_second / 1e9, 2 * l.int8_peak / 1e9,
             100 * l.prefill_multiplies_per_second / l.int8_peak);
  fmt::print("decode   {} tokens: {:.1f} tokens/s, token p50 {:.2f} ms, p99 {:.2f} ms\n", l.tokens,
             l.decode_tokens_per_second, l.token_ms_p50, l.token_ms_p99);
  fmt::print("kv       {}, {} a token, {} seen\n", kv_scheme_text(open.kv),
             bytes_text(open.model->kv_bytes_per_token()), reach_text(open.reach));
  fmt::print("memory   {} a token, {:.1f} GB/s of {:.1f} GB/s read bandwidth ({:.0f} %), peak resident {}\n",
             bytes_text(int64_t(l.bytes_per_token)), l.decode_bytes_per_second / 1e9, l.read_bandwidth / 1e9,
             100 * l.decode_bytes_per_second / l.read_bandwidth, bytes_text(l.peak_rss_bytes));
}

}  // namespace

void add_bench_command(CLI::App& app) {
  const auto args = std::make_shared<BenchArgs>();
  CLI::App* command = app.add_subcommand("bench", "Measures prefill and decode speed and memory");
  command->add_option("model", args->model, "packed file, Hugging Face folder or .gguf")->required();
  command->add_option("--prompt-tokens", args->latency.prompt_tokens, "tokens of the prompt")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 20))
      ->capture_default_str();
  command->add_option("--tokens", args->latency.tokens, "tokens to generate")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 20))
      ->capture_default_str();
  command->add_option("--repeats", args->latency.repeats, "medians are over this many runs")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--threads", args->runtime.threads, "threads, 0: all cores")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_option("--kv", args->kv, kKvHelp);
  add_reach_options(*command, args->reach);
  command->add_option("--parallel", args->parallel, "sequences together: throughput of 1, 2, 4 ... up to N")
      ->check(CLI::Range(int64_t(1), int64_t(64)));
  command->add_flag("--json", args->json, "print one JSON object");
  command->footer("Example: edgeq bench llama.packed --prompt-tokens 512 --tokens 128 --threads 2");
  command->callback([args] { bench(*args); });
}

}  // namespace edgeq
