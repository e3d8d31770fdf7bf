// SPDX-License-Identifier: Apache-2.0
#include "cli/device_bundle.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/child.h"
#include "cli/device_program.h"
#include "cli/device_script.h"
#include "cli/generate.h"
#include "cli/open_model.h"
#include "core/error.h"
#include "core/text.h"
#include "core/version.h"
#include "eval/perplexity.h"
#include "formats/output_folder.h"
#include "formats/panels.h"
#include "models/corpus.h"
#include "models/prompt.h"
#include "models/quantization_config.h"
#include "recipe/device_manifest.h"

namespace edgeq {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrompt = "Once upon a time";
constexpr int64_t kTokens = 24, kUsualContext = 2048;
constexpr int64_t kTextContext = 512, kTextWindows = 16;  // of the text that perplexity is measured on
// A token counts as decided when its logit is this far above the next. The kernels give equal bits on every
// instruction set (measured: scalar, avx2, avx512vnni, neondot), but another C library's sines and
// exponentials may not.
constexpr float kDecidedMargin = 0.01f;

// The model's greedy continuation of a prompt, up to where another CPU's rounding could lead elsewhere.
std::vector<TokenId> decided_tokens(const OpenModel& open, std::span<const TokenId> prompt) {
  const auto session = open.model->start({.max_tokens = int64_t(prompt.size()) + kTokens});
  const auto& ends = open.tokenizer.end_tokens();
  std::vector<TokenId> tokens;
  MatrixView<const float> logits = session->feed(prompt, Logits::last);
  while (int64_t(tokens.size()) < kTokens) {
    std::vector<float> row(logits.data, logits.data + logits.cols);
    const TokenId best = TokenId(std::max_element(row.begin(), row.end()) - row.begin());
    std::nth_element(row.begin(), row.begin() + 1, row.end(), std::greater<>());
    const bool ends_here = std::find(ends.begin(), ends.end(), best) != ends.end();
    if (ends_here || row[0] - row[1] < kDecidedMargin) break;
    tokens.push_back(best);
    logits = session->feed(std::span(&best, 1), Logits::last);
  }
  return tokens;
}

// "int4-g64-sym x 28, F32 x 1"
std::string scheme_summary(const PackedModel& model) {
  std::map<std::string, int> kinds;
  for (const auto& [name, w] : model.weights())
    kinds[w.scheme ? scheme_text(*w.scheme) : std::string(dtype_name(*w.dtype))] += 1;
  std::vector<std::string> parts;
  for (const auto& [kind, sites] : kinds) parts.push_back(fmt::format("{} x {}", kind, sites));
  return fmt::format("{}", fmt::join(parts, ", "));
}

DeviceNeeds needs_of(const OpenModel& open, int64_t wanted_context) {
  const int64_t longest = open.model->config().context;
  if (wanted_context > longest)
    throw Error(fmt::format("--context {}: {} goes up to {} tokens", wanted_context, open.path, longest));
  const int64_t context = wanted_context != 0 ? wanted_context : std::min(longest, kUsualContext);
  return {.context = context,
          .file_bytes = open.file_bytes,
          .kv_bytes = context * open.model->kv_bytes_per_token(),
          .work_bytes = kDeviceWorkBytes};
}

ExpectedQuality measured_quality(const std::string& text, const OpenModel& open) {
  const Corpus corpus = read_corpus(text, open.tokenizer);
  const int64_t context = std::min<int64_t>(open.model->config().context, kTextContext);
  const Windows windows = cut_windows(corpus, context, kTextWindows);
  const TextQuality quality = measure_text_quality(*open.model, nullptr, windows, {});
  return {.perplexity = quality.perplexity,
          .text = corpus.name,
          .text_hash = corpus.hash,
          .context = context,
          .predictions = quality.predictions};
}

// What `edgeq quantize --prove` wrote beside the file, unless the file is newer.
std::optional<ExpectedQuality> reported_quality(const std::string& model) {
  const fs::path report = model + ".report.json";
  std::error_code missing;
  const auto written = fs::last_write_time(report, missing);
  if (missing || written < fs::last_write_time(model)) return std::nullopt;
  const auto j =
      nlohmann::json::parse(read_config_file(report.string()), nullptr, /*allow_exceptions=*/false);
  try {
    for (const auto& row : j.at("rows")) {
      if (row.at("file_bytes") != fs::file_size(model)) continue;
      return ExpectedQuality{.perplexity = row.at("perplexity"),
                             .text = j.at("corpus"),
                             .text_hash = j.at("corpus_hash"),
                             .context = j.at("context"),
                             .predictions = row.at("predictions")};
    }
  } catch (const nlohmann::json::exception&) {  // somebody else's file of that name
  }
  return std::nullopt;
}

std::optional<ExpectedQuality> expected_quality(const DeviceExport& options, const OpenModel& open) {
  if (options.text.empty()) return reported_quality(options.model);
  return measured_quality(options.text, open);
}

// By coreutils: it is what the script uses on the other side.
std::string sha256(const std::string& path) {
  const std::string line = run_child({"sha256sum", "-b", path});
  return line.substr(line.starts_with('\\') ? 1 : 0, 64);  // an escaped file name begins with a backslash
}

}  // namespace

void export_for_device(const DeviceExport& options) {
  const Device device = load_device(options.device);
  if (!is_packed_file(options.model))
    throw Error(fmt::format("{}: a device bundle holds a packed file", options.model))
        .set_hint("make one with edgeq quantize");
  const OpenModel open = open_runtime_model(options.model, {});
  const PackedModel packed = PackedModel::open(options.model, {.verify_checksums = false});
  const DeviceNeeds needs = needs_of(open, options.context);
  check_fits(device, needs, options.model);
  const std::string program = device_program(device.architecture, options.edgeq_run);

  const auto prompt = with_bos(open.tokenizer.encode(kPrompt, SpecialTokens::plain), open.tokenizer);
  const std::vector<TokenId> tokens = decided_tokens(open, prompt);
  const ModelConfig& config = packed.config();
  DeviceManifest manifest{.version = std::string(version()),
                          .device = device,
                          .model = config.name.empty() ? config.family : config.name,
                          .scheme = scheme_summary(packed),
                          .layout = std::string(kPanelLayout),
                          .needs = needs,
                          .bytes_per_token = open.model->weight_bytes_per_token() + needs.kv_bytes / 2,
                          .quality = expected_quality(options, open),
                          .prompt = std::string(kPrompt),
                          .tokens = fmt::format("{}", fmt::join(tokens, " "))};

  make_folder_of(options.output);
  OutputFolder folder(options.output, options.existing);
  fs::copy_file(options.model, folder.file("model.packed"));
  fs::copy_file(program, folder.file("edgeq-run"));
  fs::permissions(folder.file("edgeq-run"), fs::perms(0755));
  folder.write("check.sh", kDeviceScript);
  fs::permissions(folder.file("check.sh"), fs::perms(0755));
  for (const char* name : {"model.packed", "edgeq-run", "check.sh"})
    manifest.sha256.emplace_back(name, sha256(folder.file(name)));
  folder.write("manifest.json", manifest_json(manifest));
  folder.commit();
  fmt::print("{}: {} for {}, {} of {} usable memory at {} tokens of context\n", options.output,
             manifest.model, device.title, bytes_text(needs.total()), bytes_text(device.usable_bytes()),
             needs.context);
  fmt::print("there: sh check.sh; from here to an Android phone: sh {}/check.sh --adb\n", options.output);
}

}  // namespace edgeq
