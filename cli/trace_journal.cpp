// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_journal.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "formats/mapped_file.h"

namespace edgeq {
namespace {

using Json = nlohmann::json;

std::string line_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<std::pair<int64_t, WrittenTrace>> parse_trace(std::string_view line) {
  const auto json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("item") || !json["item"].is_number_integer() ||
      !json.contains("ended") || !json["ended"].is_boolean() || !json.contains("text") ||
      !json["text"].is_string())
    return std::nullopt;
  return std::pair(json["item"].get<int64_t>(),
                   WrittenTrace{.text = json["text"].get<std::string>(), .ended = json["ended"].get<bool>()});
}

void require_key(std::string_view line, const TraceJournal::Key& expected) {
  const auto found = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!found.is_object()) throw Error("no journal of `edgeq traces`");
  for (const auto& [name, value] : expected) {
    const auto field = found.find(name);
    const std::string has = field != found.end() && field->is_string() ? field->get<std::string>() : "none";
    if (has != value)
      throw Error(fmt::format("traces of another run: {} is {}, expected {}", name, has, value))
          .set_hint("remove the file to begin anew, or give what it was begun with");
  }
}

}  // namespace

TraceJournal::TraceJournal(std::string path, const Key& key) : path_(std::move(path)) {
  if (path_.empty()) return;
  std::error_code failed;
  const bool resumed =
      std::filesystem::exists(path_, failed) && std::filesystem::file_size(path_, failed) > 0;
  if (resumed) with_context(path_, [&] { read(key); });
  file_.open(path_, std::ios::binary | std::ios::app);
  if (!resumed || std::filesystem::file_size(path_, failed) == 0) append(line_of(key));
}

void TraceJournal::read(const Key& key) {
  const auto mapped = MappedFile::open(path_);
  const std::string_view text = mapped->text();
  size_t whole = 0;  // bytes of lines that are to be kept
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', whole)) {
    const std::string_view line = text.substr(whole, end - whole);
    if (whole == 0) {
      require_key(line, key);
    } else {
      auto trace = parse_trace(line);
      if (!trace) break;
      traces_.insert(std::move(*trace));
    }
    whole = end + 1;
  }
  std::error_code failed;
  std::filesystem::resize_file(path_, whole, failed);
  if (failed) throw Error(fmt::format("cannot shorten: {}", failed.message()));
}

void TraceJournal::append(const std::string& line) {
  file_ << line << std::flush;
  if (!file_) throw Error(fmt::format("{}: cannot write", path_));
}

void TraceJournal::add(int64_t item, const WrittenTrace& trace) {
  const std::string line = line_of(Json{{"item", item}, {"ended", trace.ended}, {"text", trace.text}});
  if (!path_.empty()) append(line);
  traces_.insert(*parse_trace(line));
}

void TraceJournal::remove() {
  if (path_.empty()) return;
  file_.close();
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace edgeq
