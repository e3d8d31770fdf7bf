// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "models/target.h"
#include "pruning/mask.h"
#include "pruning/score.h"
#include "quantizers/registry.h"
#include "recipe/parse.h"
#include "runtime/kernels/kernel_table.h"

namespace edgeq {
namespace {

struct ListArgs {
  std::string what;
  bool plain = false;
};

// The comment that opens a recipe says what it is for.
std::string_view first_comment(std::string_view yaml) {
  if (!yaml.starts_with("# ")) return {};
  return yaml.substr(2, yaml.find('\n') - 2);
}

void print_line(bool plain, std::string_view name, std::string_view summary) {
  if (plain)
    fmt::print("{}\n", name);
  else
    fmt::print("{:<12} {}\n", name, summary);
}

void list(const ListArgs& args) {
  if (args.what == "recipes") {
    for (const BuiltinRecipe& r : builtin_recipes()) print_line(args.plain, r.name, first_comment(r.yaml));
  } else if (args.what == "transforms") {
    for (const TransformEntry& t : transforms()) {
      print_line(args.plain, t.name, t.summary);
      if (!args.plain) fmt::print("{:<12} options: {}\n", "", t.options);
    }
  } else if (args.what == "quantizers") {
    for (const QuantizerEntry& q : quantizers()) {
      print_line(args.plain, q.name, q.summary);
      if (!args.plain) fmt::print("{:<12} options: {}\n", "", q.options);
    }
  } else if (args.what == "pruners") {
    for (const ScoreEntry& s : scores()) print_line(args.plain, s.name, s.summary);
  } else if (args.what == "masks") {
    for (const MaskEntry& m : mask_methods()) print_line(args.plain, m.name, m.summary);
  } else if (args.what == "refiners") {
    for (const RefinerEntry& r : refiners()) print_line(args.plain, r.name, r.summary);
  } else if (args.what == "targets") {
    for (const TargetEntry& t : targets())
      print_line(args.plain,
                 t.takes_group && !args.plain ? fmt::format("{}[:g<group>]", t.name) : std::string(t.name),
                 t.summary);
  } else {
    const std::string_view active = kernels().isa;
    for (const KernelTable* table : runnable_kernels())
      print_line(args.plain, table->isa, table->isa == active ? "in use" : "");
  }
}

}  // namespace

void add_list_command(CLI::App& app) {
  const auto args = std::make_shared<ListArgs>();
  CLI::App* command = app.add_subcommand(
      "list", "Lists recipes, transforms, quantizers, refiners, pruners, masks, targets or instruction sets");
  command
      ->add_option("what", args->what,
                   "recipes, transforms, quantizers, refiners, pruners, masks, targets or isas")
      ->required()
      ->check(CLI::IsMember(
          {"recipes", "transforms", "quantizers", "refiners", "pruners", "masks", "targets", "isas"}));
  command->add_flag("--plain", args->plain, "names only");
  command->footer("Example: edgeq list recipes");
  command->callback([args] { list(*args); });
}

}  // namespace edgeq
