// SPDX-License-Identifier: Apache-2.0
#include "tests/models/tokenizer_cases.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace edgeq {
namespace {

std::string from_base64(const std::string& text) {
  const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | uint32_t(letters.find(c));
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += char(bits >> count);
  }
  return bytes;
}

}  // namespace

std::string read_test_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string golden_folder() { return std::string(EDGEQ_SOURCE_DIR) + "/tests/golden/tokenizers/"; }

Tokenizer golden_tokenizer(const std::string& name) {
  if (const std::string json = golden_folder() + name + ".json"; std::filesystem::exists(json)) {
    return Tokenizer::from_json(read_test_file(json));
  }
  const std::string model = read_test_file(golden_folder() + name + ".model");
  return Tokenizer::from_sentencepiece(std::as_bytes(std::span(model)));
}

std::vector<TokenizerCase> golden_cases(const std::string& name) {
  std::vector<TokenizerCase> cases;
  const auto file = nlohmann::json::parse(read_test_file(golden_folder() + name + ".cases.json"));
  for (const auto& row : file.at("cases")) {
    TokenizerCase& made = cases.emplace_back();
    made.text = row[0].is_string() ? row[0].get<std::string>() : from_base64(row[0].at("base64"));
    made.ids = row[1].get<std::vector<TokenId>>();
    made.decoded = row[2];
    made.plain = row.size() > 3 ? row[3].get<std::vector<TokenId>>() : made.ids;
  }
  return cases;
}

}  // namespace edgeq
