// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/generate.h"
#include "cli/kv_option.h"
#include "cli/open_model.h"
#include "cli/prompt_cache.h"
#include "cli/reach_option.h"
#include "core/error.h"
#include "core/text.h"
#include "models/prompt.h"

namespace edgeq {
namespace {

struct RunArgs {
  std::string model, prompt, system, kv, draft, prompt_cache;
  int64_t tokens = 128;
  bool greedy = false, chat = false, ids = false, stats = false, lookup = false;
  SamplerOptions sampler{.temperature = 0.8, .top_p = 0.95};
  RuntimeOptions runtime;
  ReachArgs reach;
};

std::vector<TokenId> prompt_tokens(const RunArgs& args, const Tokenizer& tokenizer) {
  if (!args.chat) return with_bos(tokenizer.encode(args.prompt, SpecialTokens::plain), tokenizer);
  std::vector<ChatMessage> messages;
  if (!args.system.empty()) messages.push_back({"system", args.system});
  messages.push_back({"user", args.prompt});
  return chat_tokens(tokenizer, messages);
}

// What guesses the next tokens, and the model behind it.
struct Draft {
  std::optional<OpenModel> model;
  std::unique_ptr<Drafter> drafter;
};

Draft open_draft(const RunArgs& args, const OpenModel& open, int64_t max_tokens) {
  if (args.lookup) return {.model = std::nullopt, .drafter = make_prompt_lookup()};
  if (args.draft.empty()) return {};
  const RuntimeOptions options{.threads = args.runtime.threads, .reach = args.runtime.reach};
  Draft draft{.model = open_runtime_model(args.draft, options), .drafter = nullptr};
  if (draft.model->tokenizer.hash() != open.tokenizer.hash())
    throw Error(
        fmt::format("{} and {} turn text into different tokens; expected a draft with the same tokenizer",
                    args.draft, args.model));
  draft.drafter = make_model_drafter(*draft.model->model, max_tokens);
  return draft;
}

void print_stats(const Generation& made) {
  fmt::print(stderr, "{} prompt tokens in {} ({:.1f}/s), {} tokens in {} ({:.1f}/s), kernels {}\n",
             made.prompt_tokens, duration_text(made.prefill_seconds),
             double(made.prompt_tokens) / made.prefill_seconds, made.tokens,
             duration_text(made.decode_seconds), double(made.tokens) / made.decode_seconds, active_isa());
  if (!made.speculation) return;
  const SpeculationStats& s = *made.speculation;
  const double made_in_rounds = double(s.rounds + s.accepted);
  fmt::print(stderr, "speculation: {} of {} guesses right ({:.0f} %), {:.2f} tokens a round in {} rounds",
             s.accepted, s.drafted, 100 * double(s.accepted) / double(std::max<int64_t>(s.drafted, 1)),
             made_in_rounds / double(std::max<int64_t>(s.rounds, 1)), s.rounds);
  if (s.rounds > 0 && s.plain_steps > 0)
    fmt::print(stderr, "; {:.2f} ms a token against {:.2f} ms plain", 1e3 * s.round_seconds / made_in_rounds,
               1e3 * s.plain_seconds / double(s.plain_steps));
  fmt::print(stderr, "{}\n", s.off ? "; off, as it was slower" : "");
}

// Puts what the file has of the prompt's beginning into the session. Says whether the file is missing.
bool load_prompt_cache(const std::string& path, const PromptCacheKey& key, std::span<const TokenId> prompt,
                       Session& session) {
  const std::optional<SessionState> state = read_prompt_cache(path, key);
  if (!state) return true;
  const auto same = std::ranges::mismatch(state->tokens, prompt).in1 - state->tokens.begin();
  with_context(path, [&] { session.restore(*state, std::min<int64_t>(same, std::ssize(prompt) - 1)); });
  return false;
}

void run(RunArgs& args) {
  args.runtime.kv = parse_kv_option(args.kv);
  args.runtime.reach = args.reach.reach();
  if (args.greedy) args.sampler.temperature = 0;
  const OpenModel open = open_runtime_model(args.model, args.runtime);
  ForgetWarning forgets(open.reach, open.model->config());
  GenerateOptions options{.tokens = args.tokens, .sampler = args.sampler};
  options.on_length = [&](int64_t tokens) { forgets.at(tokens); };
  if (args.chat && args.prompt.empty()) {
    const int64_t room = longest_sequence(open.model->config(), open.reach);
    const Draft draft = open_draft(args, open, room);
    options.drafter = draft.drafter.get();
    const auto on_answer = [&](const Generation& made) {
      if (args.stats) print_stats(made);
    };
    return chat(open, *open.model->start({.max_tokens = room}), room,
                {.system = args.system, .generate = options, .on_answer = on_answer});
  }
  const std::vector<TokenId> prompt = prompt_tokens(args, open.tokenizer);
  const int64_t max_tokens = std::ssize(prompt) + args.tokens;
  const Draft draft = open_draft(args, open, max_tokens);
  options.drafter = draft.drafter.get();
  const auto session = open.model->start({.max_tokens = max_tokens});
  const bool cached = !args.prompt_cache.empty();
  const PromptCacheKey key = cached ? prompt_cache_key(open, max_tokens) : PromptCacheKey{};
  const bool saves = cached && load_prompt_cache(args.prompt_cache, key, prompt, *session);
  const auto on_prompt = [&] {
    if (saves) write_prompt_cache(args.prompt_cache, key, session->save());
    if (!args.chat && !args.ids) fmt::print("{}", args.prompt);
  };
  const auto print_token = [&, first = true](TokenId token) mutable {
    if (args.ids) return fmt::print("{}{}", std::exchange(first, false) ? "" : " ", token);
    const std::string piece = open.tokenizer.piece(token);
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  const Generation made = generate(*session, open.tokenizer, prompt, options, on_prompt, print_token);
  std::fputc('\n', stdout);
  if (args.stats) print_stats(made);
}

}  // namespace

void add_run_command(CLI::App& app) {
  const auto args = std::make_shared<RunArgs>();
  CLI::App* command =
      app.add_subcommand("run", "Generates text with a packed file, a model folder or a GGUF");
  command->add_option("model", args->model, "packed file, Hugging Face folder or .gguf")->required();
  CLI::Option* prompt = command->add_option("-p,--prompt", args->prompt, "text to continue");
  command->add_option("-n,--tokens", args->tokens, "tokens to generate at most")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 20))
      ->capture_default_str();
  command->add_flag("--greedy", args->greedy, "always the likeliest token");
  command->add_flag(
      "--chat", args->chat,
      "the prompt is a user's message, rendered by the model's chat template; without a prompt,\n"
      "a conversation: a line is a turn, /reset begins anew, /quit ends");
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
  add_reach_options(*command, args->reach);
  command->add_flag("--ids", args->ids, "print the ids of the new tokens instead of text");
  command->add_flag("--stats", args->stats, "print speeds to stderr");
  CLI::Option* cache = command->add_option(
      "--prompt-cache", args->prompt_cache,
      "file for the prompt's keys and values: written when it is missing, else what the prompt and the file\n"
      "have in common at their beginning is not computed again");
  CLI::Option* draft =
      command->add_option("--draft", args->draft,
                          "a smaller model with the same tokenizer guesses tokens,\n"
                          "which are checked several at a time; with --greedy, and the text stays the same");
  command->add_flag("--lookup", args->lookup, "the same with guesses from the text so far")->excludes(draft);
  command->footer("Example: edgeq run llama.packed --prompt \"Once upon a time\" --tokens 64 --greedy");
  command->callback([args, prompt, cache] {
    if (prompt->count() == 0 && !args->chat) throw CLI::RequiredError("--prompt (or --chat)");
    if (prompt->count() == 0 && cache->count() > 0)
      throw CLI::RequiredError("--prompt, with --prompt-cache,");
    run(*args);
  });
}

}  // namespace edgeq
