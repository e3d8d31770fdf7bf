// SPDX-License-Identifier: Apache-2.0
#include "calibration/stats_file.h"

#include <fmt/format.h>

#include "core/error.h"
#include "formats/hdf5_file.h"
#include "formats/output_file.h"

namespace edgeq {
namespace {

constexpr char kFormat[] = "edgeq-stats";
constexpr int64_t kVersion = 1;

void write_dataset(Hdf5Group& group, const char* name, const Tensor& values) {
  group.write(name, values.view(), Hdf5Group::Packing::none);
}

void write_key(Hdf5Group& file, const StatsKey& key) {
  file.write_text("format", kFormat);
  file.write_number("version", kVersion);
  file.write_text("model_hash", key.model_hash);
  file.write_text("corpus_name", key.corpus_name);
  file.write_text("corpus_hash", key.corpus_hash);
  file.write_number("windows", key.windows);
  file.write_number("window_tokens", key.window_tokens);
  file.write_text("tool_version", key.tool_version);
}

StatsKey read_key(const Hdf5Group& file) {
  const std::string format = file.read_text("format");
  if (format != kFormat) throw Error(fmt::format("format is \"{}\"; expected \"{}\"", format, kFormat));
  const int64_t version = file.read_number("version");
  if (version != kVersion) throw Error(fmt::format("version is {}; expected {}", version, kVersion));
  return {.model_hash = file.read_text("model_hash"),
          .corpus_name = file.read_text("corpus_name"),
          .corpus_hash = file.read_text("corpus_hash"),
          .windows = file.read_number("windows"),
          .window_tokens = file.read_number("window_tokens"),
          .tool_version = file.read_text("tool_version")};
}

void require_key(const StatsKey& found, const StatsKey& expected) {
  const auto field = [](std::string_view name, const auto& is, const auto& should) {
    if (is == should) return;
    Error error(fmt::format("statistics of another {}: found {}, expected {}", name, is, should));
    throw error.set_hint("delete the file, or name another one, to collect them anew");
  };
  field("model (model_hash)", found.model_hash, expected.model_hash);
  field("corpus (corpus_name)", found.corpus_name, expected.corpus_name);
  field("corpus (corpus_hash)", found.corpus_hash, expected.corpus_hash);
  field("number of windows (windows)", found.windows, expected.windows);
  field("window length (window_tokens)", found.window_tokens, expected.window_tokens);
  field("tool version (tool_version)", found.tool_version, expected.tool_version);
}

void write_input(Hdf5Group& file, const std::string& name, const InputStats& stats) {
  Hdf5Group group = file.create_group(name);
  group.write_number("tokens", stats.tokens);
  write_dataset(group, "abs_max", stats.abs_max);
  write_dataset(group, "mean", stats.mean);
  write_dataset(group, "square_mean", stats.square_mean);
  if (!stats.hessian.empty()) write_dataset(group, "hessian", stats.hessian);
}

InputStats read_input(const Hdf5Group& group) {
  InputStats stats;
  stats.tokens = group.read_number("tokens");
  if (stats.tokens < 1) throw Error(fmt::format("tokens is {}; expected at least 1", stats.tokens));
  stats.abs_max = group.read("abs_max", DType::f32, {});
  const int64_t width = stats.width();
  stats.mean = group.read("mean", DType::f32, {width});
  stats.square_mean = group.read("square_mean", DType::f32, {width});
  if (group.has("hessian")) stats.hessian = group.read("hessian", DType::f32, {width, width});
  return stats;
}

void write_file(const std::string& path, const StatsKey& key, const StatsMap& stats) {
  Hdf5Group file = create_hdf5(path);
  write_key(file, key);
  for (const auto& entry : stats)
    with_context(entry.first, [&] { write_input(file, entry.first, entry.second); });
  file.flush();
}

}  // namespace

void write_stats(const std::string& path, const StatsKey& key, const StatsMap& stats) {
  OutputFile output(path, OutputFile::Existing::replace);
  with_context(path, [&] { write_file(output.partial_path(), key, stats); });
  output.commit();
}

StatsKey read_stats_key(const std::string& path) {
  return with_context(path, [&] { return read_key(open_hdf5(path)); });
}

StatsMap read_stats(const std::string& path, const StatsKey& expected) {
  return with_context(path, [&] {
    const Hdf5Group file = open_hdf5(path);
    require_key(read_key(file), expected);
    StatsMap stats;
    for (const std::string& name : file.names())
      stats.emplace(name, with_context(name, [&] { return read_input(file.open_group(name)); }));
    return stats;
  });
}

}  // namespace edgeq
