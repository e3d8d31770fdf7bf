// SPDX-License-Identifier: Apache-2.0
// A bash completion script made from the commands themselves, so that it cannot fall behind them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

#include "cli/commands.h"

namespace edgeq {
namespace {

std::string words_of(const CLI::App& command) {
  std::string words;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) words += " --" + name;
  return words;
}

void print_bash(const CLI::App& app) {
  std::string commands, cases;
  for (const CLI::App* command : app.get_subcommands({})) {
    commands += " " + command->get_name();
    cases += fmt::format("    {}) words=\"{}\" ;;\n", command->get_name(), words_of(*command));
  }
  fmt::print(R"bash(_edgeq() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} words=
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W "{}" -- "$current"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{}  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
    [[ ${{COMP_WORDS[1]}} == quantize ]] && COMPREPLY+=($(compgen -W "$(edgeq list recipes --plain)" -- "$current"))
  fi
}}
complete -o filenames -F _edgeq edgeq
)bash",
             commands, cases);
}

}  // namespace

void add_completions_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("completions", "Prints a completion script for bash");
  command->footer("Example: source <(edgeq completions)");
  command->callback([&app] { print_bash(app); });
}

}  // namespace edgeq
