// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "cli/commands.h"
#include "cli/open_model.h"
#include "core/text.h"
#include "models/names.h"
#include "runtime/kv_cache.h"

namespace edgeq {
namespace {

struct InspectArgs {
  std::string model;
  bool provenance = false, verify = false, sites = false;
};

void print_config(const ModelConfig& c) {
  const LayerShape& first = c.layers.front();
  bool uniform = true;
  for (const LayerShape& l : c.layers) uniform = uniform && l == first;
  fmt::print("model        {} ({}), {} weights\n", c.name.empty() ? "unnamed" : c.name, c.family,
             fmt::format("{:.1f} M", double(c.weight_count()) / 1e6));
  fmt::print("shape        {} layers, hidden {}, {} heads ({} kv) of {}, ffn {}{}\n", c.layers.size(),
             c.hidden, first.heads, first.kv_heads, first.head_dim, first.ffn,
             uniform ? "" : " (first layer; layers differ)");
  fmt::print("vocabulary   {}, {} head; context {}{}\n", c.vocab, c.tied_head ? "tied" : "untied", c.context,
             first.window != 0 ? fmt::format(", window {}", first.window) : "");
}

void inspect_packed(const InspectArgs& args) {
  const PackedModel model = PackedModel::open(args.model, {.verify_checksums = args.verify});
  print_config(model.config());
  fmt::print("file         {}, weights {}, {:.3f} bits per weight{}\n", bytes_text(model.file_bytes()),
             bytes_text(model.weight_bytes()), model.bits_per_weight(),
             args.verify ? ", every checksum holds" : "");
  fmt::print("kv cache     {}, {} a token\n", kv_scheme_text(model.kv()),
             bytes_text(KvLayout(model.config(), model.kv()).bytes_per_token()));
  fmt::print("activations  {}\n", activations_text(model.activations()));
  std::map<std::string, std::pair<int, int64_t>> kinds;
  for (const auto& [name, w] : model.weights()) {
    const std::string kind = w.scheme ? scheme_text(*w.scheme) : std::string(dtype_name(*w.dtype));
    if (args.sites) fmt::print("{:<30} {:>6} x {:<6} {}\n", name, w.rows, w.cols, kind);
    kinds[kind].first += 1;
    kinds[kind].second += int64_t(w.panels.size());
  }
  for (const auto& [kind, total] : kinds)
    fmt::print("  {:<18} {:>4} sites  {}\n", kind, total.first, bytes_text(total.second));
  if (args.provenance) fmt::print("{}\n", model.provenance_json());
}

void inspect_checkpoint(const InspectArgs& args) {
  const auto checkpoint = open_checkpoint(args.model);
  print_config(checkpoint->config());
  fmt::print("file         {}, {:.3f} bits per weight as stored\n", bytes_text(checkpoint->file_bytes()),
             stored_bits_per_weight(*checkpoint));
  fmt::print("hash         {}\n", checkpoint->hash());
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  const auto args = std::make_shared<InspectArgs>();
  CLI::App* command = app.add_subcommand("inspect", "Tells what a model file holds");
  command->add_option("model", args->model, "packed file, Hugging Face folder or .gguf")->required();
  command->add_flag("--sites", args->sites, "list every site of a packed file");
  command->add_flag("--provenance", args->provenance,
                    "print recipe, corpus and errors of a packed file, as JSON");
  command->add_flag("--verify", args->verify, "check every checksum of a packed file");
  command->footer("Example: edgeq inspect llama.packed --verify --sites");
  command->callback(
      [args] { is_packed_file(args->model) ? inspect_packed(*args) : inspect_checkpoint(*args); });
}

}  // namespace edgeq
