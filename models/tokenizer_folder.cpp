// SPDX-License-Identifier: Apache-2.0
// The tokenizer files of a Hugging Face folder, taken together.
#include <filesystem>

#include "core/error.h"
#include "formats/mapped_file.h"
#include "models/tokenizer_data.h"

namespace edgeq {
namespace {

std::string read_if_present(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return {};
  const auto file = MappedFile::open(path.string());
  return std::string(file->text());
}

}  // namespace

TokenizerData read_tokenizer_folder(const std::string& folder) {
  const std::filesystem::path root(folder);
  const std::string json = read_if_present(root / "tokenizer.json");
  const std::string model = json.empty() ? read_if_present(root / "tokenizer.model") : std::string();
  if (json.empty() && model.empty()) {
    throw Error(folder + ": no tokenizer; expected tokenizer.json or tokenizer.model");
  }
  return with_context(folder, [&] {
    TokenizerData data;
    // Older folders name bos and eos only in special_tokens_map.json; the config overrides it.
    const std::string config = read_if_present(root / "tokenizer_config.json");
    const std::string fallback = config.empty() ? read_if_present(root / "special_tokens_map.json") : config;
    if (!json.empty()) {
      data = read_tokenizer_json(json, fallback);
    } else {
      data = read_sentencepiece(std::as_bytes(std::span(model)));
      apply_tokenizer_config(data, fallback);
      add_known_end_tokens(data);
    }
    apply_generation_config(data, read_if_present(root / "generation_config.json"));
    if (std::string jinja = read_if_present(root / "chat_template.jinja"); !jinja.empty()) {
      data.chat_template = std::move(jinja);
    }
    check_tokenizer(data);
    return data;
  });
}

}  // namespace edgeq
