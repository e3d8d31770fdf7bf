// SPDX-License-Identifier: Apache-2.0
// GGUF does not hold the pre-tokenizer, only a name for it (tokenizer.ggml.pre). The steps behind the names,
// as the tokenizer.json files have them from which such GGUF files are made.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "core/error.h"
#include "models/tokenizer_data.h"

namespace edgeq {
namespace {

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigits3 = R"(\p{N}{1,3})";
constexpr std::string_view kKana = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Letters of scripts with case, as DeepSeek's first tokenizers list them.
constexpr std::string_view kCasedWord =
    "\\s?[A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF"
    "\u0370-\u0373\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5"
    "\u03F7-\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA"
    "\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45"
    "\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2"
    "-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102"
    "\u2107\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-"
    "\u213F\u2145-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-"
    "\uA66D\uA680-\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-"
    "\uFB17\uFF21-\uFF3A\uFF41-\uFF5A\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB"
    "\U00010C80-\U00010CB2\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943]+";
constexpr std::string_view kWidePunctuation =
    "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+";
constexpr std::string_view kHanHangul = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";

enum class Style : uint8_t {
  gpt2,         // GPT-2's expression alone
  digits_gpt2,  // every digit alone, then GPT-2's expression
  falcon,       // punctuation, GPT-2's expression, groups of three digits
  llama3,
  qwen2,
  qwen35,
  gpt4o,
  tekken,
  deepseek3,
  deepseek_llm,
  deepseek_coder,
};

struct Entry {
  std::string_view name;
  Style style;
  bool nfc = false, ignore_merges = false, adds_bos = false;
};

// The first name of those with equal steps is the one that exports write.
constexpr Entry kNames[] = {
    {"gpt-2", Style::gpt2},
    {"phi-2", Style::gpt2},
    {"jina-es", Style::gpt2},
    {"jina-de", Style::gpt2},
    {"gigachat", Style::gpt2},
    {"exaone4", Style::gpt2},
    {"mpt", Style::gpt2, true},
    {"olmo", Style::gpt2, true},
    {"smollm", Style::digits_gpt2},
    {"starcoder", Style::digits_gpt2},
    {"refact", Style::digits_gpt2},
    {"codeshell", Style::digits_gpt2},
    {"command-r", Style::digits_gpt2, true},
    {"falcon", Style::falcon},
    {"llama-bpe", Style::llama3, false, true, true},
    {"llama3", Style::llama3, false, true, true},
    {"llama-v3", Style::llama3, false, true, true},
    {"falcon3", Style::llama3, false, true, true},
    {"lfm2", Style::llama3, false, true, true},
    {"smaug-bpe", Style::llama3},
    {"dbrx", Style::llama3},
    {"qwen2", Style::qwen2, true},
    {"deepseek-r1-qwen", Style::qwen2, true},
    {"qwen35", Style::qwen35},
    {"gpt-4o", Style::gpt4o},
    {"llama4", Style::gpt4o},
    {"tekken", Style::tekken, false, true, true},
    {"deepseek-v3", Style::deepseek3},
    {"deepseek-llm", Style::deepseek_llm},
    {"deepseek-coder", Style::deepseek_coder},
};

std::vector<PreTokenizeStep> steps_of(Style style) {
  const auto isolated = [](std::initializer_list<std::string_view> expressions) {
    std::vector<PreTokenizeStep> steps;
    for (const std::string_view expression : expressions) steps.push_back(split_step(expression));
    steps.push_back(alphabet_step());
    return steps;
  };
  switch (style) {
    case Style::gpt2: return isolated({kGpt2Expression});
    case Style::digits_gpt2: return isolated({"\\p{N}", kGpt2Expression});
    case Style::falcon: {
      auto steps = isolated({"[!-/:-@\\[-`{-~\\p{P}]", kGpt2Expression, "[0-9][0-9][0-9]"});
      steps.front().behavior = SplitBehavior::contiguous;
      return steps;
    }
    case Style::llama3: return isolated({kLlama3});
    case Style::qwen2: return isolated({kQwen2});
    case Style::qwen35: return isolated({kQwen35});
    case Style::gpt4o: return isolated({kGpt4o});
    case Style::tekken: return isolated({kTekken});
    case Style::deepseek3: return isolated({kDigits3, kKana, kDeepSeek3});
    case Style::deepseek_llm:
      return isolated({"[\r\n]", kCasedWord, kWidePunctuation, "\\s+$", kHanHangul, "\\p{N}+"});
    case Style::deepseek_coder:
      return isolated({"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kHanHangul, "\\p{N}"});
  }
  return {};
}

GgufPreTokenizer made_of(const Entry& entry) {
  GgufPreTokenizer made;
  if (entry.nfc) made.normalize.emplace_back();  // NFC is a step's default
  made.pre_tokenize = steps_of(entry.style);
  made.ignore_merges = entry.ignore_merges;
  made.adds_bos = entry.adds_bos;
  return made;
}

}  // namespace

GgufPreTokenizer gguf_pre_tokenizer(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Entry& entry : kNames) {
    if (entry.name == name) return made_of(entry);
    known.push_back(entry.name);
  }
  throw Error(fmt::format("tokenizer.ggml.pre '{}' is not supported; expected one of {}", name,
                          fmt::join(known, ", ")));
}

std::string gguf_pre_name(const TokenizerData& data) {
  if (data.kind != TokenizerKind::bpe || data.byte_fallback) return "";
  for (const Entry& entry : kNames) {
    const GgufPreTokenizer made = made_of(entry);
    if (made.pre_tokenize == data.pre_tokenize && made.normalize == data.normalize &&
        made.ignore_merges == data.ignore_merges) {
      return std::string(entry.name);
    }
  }
  return "";
}

}  // namespace edgeq
