// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <utility>

#include "cli/commands.h"
#include "cli/generate.h"
#include "cli/kv_option.h"
#include "core/text.h"

namespace edgeq {
namespace {

struct RunArgs {
  std::string model, prompt, system, kv;
  int64_t tokens = 128;
  bool greedy = false, chat = false, ids = false, stats = false;
  SamplerOptions sampler{.temperature = 0.8, .top_p = 0.95};
  RuntimeOptions runtime;
};

std::vector<TokenId> prompt_tokens(const RunArgs& args, const Tokenizer& tokenizer) {
  std::string text = args.prompt;
  if (args.chat) {
    std::vector<ChatMessage> messages;
    if (!args.system.empty()) messages.push_back({"system", args.system});
    messages.push_back({"user", args.prompt});
    text = tokenizer.apply_chat_template(messages);
  }
  return with_bos(tokenizer.encode(text, args.chat ? SpecialTokens::parse : SpecialTokens::plain), tokenizer);
}

void run(RunArgs& args) {
  args.runtime.kv = parse_kv_option(args.kv);
  const OpenModel open = open_runtime_model(args.model, args.runtime);
  const std::vector<TokenId> prompt = prompt_tokens(args, open.tokenizer);
  SamplerOptions options = args.sampler;
  if (args.greedy) options.temperature = 0;
  const auto print_prompt = [&] {
    if (!args.chat && !args.ids) fmt::print("{}", args.prompt);
  };
  const auto print_token = [&, first = true](TokenId token) mutable {
    if (args.ids) return fmt::print("{}{}", std::exchange(first, false) ? "" : " ", token);
    const std::string piece = open.tokenizer.piece(token);
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  const Generation made = generate(open, prompt, args.tokens, options, print_prompt, print_token);
  std::fputc('\n', stdout);
  if (args.stats)
    fmt::print(stderr, "{} prompt tokens in {} ({:.1f}/s), {} tokens in {} ({:.1f}/s), kernels {}\n",
               prompt.size(), duration_text(made.prefill_seconds),
               double(prompt.size()) / made.prefill_seconds, made.tokens, duration_text(made.decode_seconds),
               double(made.tokens) / made.decode_seconds, active_isa());
}

}  // namespace

void add_run_command(CLI::App& app) {
  const auto args = std::make_shared<RunArgs>();
  CLI::App* command =
      app.add_subcommand("run", "Generates text with a packed file, a model folder or a GGUF");
  command->add_option("model", args->model, "packed file, Hugging Face folder or .gguf")->required();
  command->add_option("-p,--prompt", args->prompt, "text to continue")->required();
  command->add_option("-n,--tokens", args->tokens, "tokens to generate at most")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 20))
      ->capture_default_str();
  command->add_flag("--greedy", args->greedy, "always the likeliest token");
  command->add_flag("--chat", args->chat,
                    "the prompt is a user's message, rendered by the model's chat template");
  command->add_option("--system", args->system, "system message, with --chat");
  command->add_option("--temperature", args->sampler.temperature, "0 is greedy")->capture_default_str();
  command->add_option("--top-k", args->sampler.top_k, "keep the k likeliest tokens, 0: all")
      ->capture_default_str();
  command->add_option("--top-p", args->sampler.top_p, "keep the likeliest tokens of this total probability")
      ->capture_default_str();
  command->add_option("--min-p", args->sampler.min_p, "drop tokens below this share of the best probability")
      ->capture_default_str();
  command->add_option("--seed", args->sampler.seed, "seed of the sampler")->capture_default_str();
  command->add_option("--threads", args->runtime.threads, "threads, 0: all cores")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_option("--kv", args->kv, kKvHelp);
  command->add_flag("--ids", args->ids, "print the ids of the new tokens instead of text");
  command->add_flag("--stats", args->stats, "print speeds to stderr");
  command->footer("Example: edgeq run llama.packed --prompt \"Once upon a time\" --tokens 64 --greedy");
  command->callback([args] { run(*args); });
}

}  // namespace edgeq
