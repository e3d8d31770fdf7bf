// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "cli/run_check.h"
#include "core/error.h"
#include "models/any_model.h"
#include "models/verify.h"

namespace edgeq {
namespace {

struct VerifyArgs {
  std::string model, against;
  double max_kl = 0.5;
  int threads = 0;
  bool no_run = false;
};

void verify(const VerifyArgs& args) {
  const auto file = open_any_checkpoint(args.model);
  std::vector<std::string> findings = diagnose(*file);
  std::shared_ptr<const Checkpoint> reference;
  if (!args.against.empty()) {
    reference = open_any_checkpoint(args.against);
    for (std::string& finding : diagnose_against(*file, *reference)) findings.push_back(std::move(finding));
  }
  for (const std::string& finding : findings) fmt::print("{}: {}\n", args.model, finding);
  for (const std::string& note : left_out(args.model)) fmt::print("{}: note: {}\n", args.model, note);
  const auto obstacle = run_check_obstacle(file->config());
  if (!args.no_run && !obstacle) {
    const TextQuality quality = compare_on_passage(*file, reference ? *reference : *file, args.threads);
    fmt::print("{}: perplexity {:.2f} on the built-in passage\n", args.model, quality.perplexity_all);
    if (!(quality.perplexity_all < double(file->config().vocab)))
      findings.push_back("it predicts worse than guessing among all tokens");
    if (reference) {
      const double kl = quality.divergence->kl_mean;
      fmt::print("{}: mean KL divergence {:.3g} from {}\n", args.model, kl, args.against);
      if (!(kl <= args.max_kl)) findings.push_back(fmt::format("mean KL divergence {:.3g}", kl));
    }
  } else {
    fmt::print("{}: not run: {}\n", args.model, args.no_run ? "--no-run" : *obstacle);
  }
  if (!findings.empty())
    throw Error(fmt::format("{}: {} findings, the last: {}", args.model, findings.size(), findings.back()));
  fmt::print("{}: every tensor reads, nothing found wrong\n", args.model);
}

}  // namespace

void add_verify_command(CLI::App& app) {
  const auto args = std::make_shared<VerifyArgs>();
  CLI::App* command =
      app.add_subcommand("verify", "Reads a model file whole, looks for what is wrong, and runs it");
  command->add_option("model", args->model, "packed file, Hugging Face folder, .gguf or HDF5 archive")
      ->required();
  command->add_option("--against", args->against, "the model that it was made from");
  command->add_option("--max-kl", args->max_kl, "largest mean KL divergence from the reference, in nats")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--threads", args->threads, "threads, 0: all cores")->check(CLI::Range(0, 256));
  command->add_flag("--no-run", args->no_run, "read only");
  command->footer("Example: edgeq verify llama.gguf --against models/llama");
  command->callback([args] { verify(*args); });
}

}  // namespace edgeq
