// SPDX-License-Identifier: Apache-2.0
// GGUF as a target. Codes are kept in the first block type that holds them exactly, the named type before all
// others, else in the first that rounds only what lies beside them. For a recipe the named type is taken
// where its bits suffice and its blocks divide the columns; otherwise, as llama.cpp falls back:
//   more bits      Q4_0 -> Q5_0 -> Q8_0   Q4_1 -> Q5_1 -> Q8_0   IQ4_NL -> Q5_0   Q4_K -> Q5_K -> Q6_K ->
//   Q8_0 no 256 columns Q4_K -> Q5_0           Q5_K -> Q5_1           Q6_K -> Q8_0 no 32 columns  F16
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "core/error.h"
#include "formats/gguf_blocks.h"
#include "models/carry.h"
#include "models/export.h"
#include "models/targets.h"

namespace edgeq {
namespace {

// By bits; where two have as many, the one that costs fewer bytes first.
constexpr Encoding kBlockTypes[] = {Encoding::q4_0, Encoding::iq4_nl, Encoding::q4_k,
                                    Encoding::q4_1, Encoding::q5_0,   Encoding::q5_k,
                                    Encoding::q5_1, Encoding::q6_k,   Encoding::q8_0};
constexpr Encoding kFloatTypes[] = {Encoding::f32, Encoding::f16, Encoding::bf16};

std::optional<Encoding> next_wider(Encoding type) {
  switch (type) {
    case Encoding::q4_0:
    case Encoding::iq4_nl: return Encoding::q5_0;
    case Encoding::q4_1: return Encoding::q5_1;
    case Encoding::q4_k: return Encoding::q5_k;
    case Encoding::q5_k: return Encoding::q6_k;
    case Encoding::q5_0:
    case Encoding::q5_1:
    case Encoding::q6_k: return Encoding::q8_0;
    default: return std::nullopt;
  }
}

// For columns that 256 does not divide.
Encoding small_block(Encoding type) {
  switch (type) {
    case Encoding::q4_k: return Encoding::q5_0;
    case Encoding::q5_k: return Encoding::q5_1;
    case Encoding::q6_k: return Encoding::q8_0;
    default: return type;
  }
}

int bits_of(Encoding type) { return block_scheme(type)->bits; }
bool divides(Encoding type, int64_t cols) { return cols % block_size(type).elements == 0; }

std::optional<Encoding> type_named(std::string_view name) {
  const auto is = [&](Encoding type) {
    return std::ranges::equal(encoding_name(type), name, [](char a, char b) { return std::tolower(a) == b; });
  };
  for (const auto& types : {std::span<const Encoding>(kBlockTypes), std::span<const Encoding>(kFloatTypes)})
    if (const auto found = std::ranges::find_if(types, is); found != types.end()) return *found;
  return std::nullopt;
}

constexpr int64_t kAlignment = 32;
// Of one tensor at most: its name, shape, type and offset, and what provenance says of it.
constexpr int64_t kHeaderBytes = 400;

// At most what set_gguf_tokenizer() writes: strings with their lengths, a type and, for SentencePiece, a
// score for each token, and the keys.
int64_t tokenizer_bytes(const TokenizerData& tokenizer, int64_t vocab) {
  constexpr int64_t kLength = 8, kType = 4, kScore = 4, kPadName = 16, kKeys = 4096;
  int64_t bytes = kKeys + std::ssize(tokenizer.chat_template) + vocab * (kLength + kType) +
                  (vocab - std::ssize(tokenizer.tokens)) * kPadName;
  for (const std::string& token : tokenizer.tokens) bytes += token.empty() ? kPadName : std::ssize(token);
  if (!tokenizer.decode.byte_level) return bytes + vocab * kScore;
  for (const std::string& merge : merge_texts(tokenizer)) bytes += kLength + std::ssize(merge);
  return bytes;
}

class GgufTarget final : public Target {
 public:
  explicit GgufTarget(std::string_view name)
      : name_(name), type_(name == "gguf" ? std::nullopt : type_named(name.substr(name.find(':') + 1))) {}
  const std::string& name() const override { return name_; }
  std::string_view ending() const override { return "gguf"; }

  void check(const ModelConfig& config) const override { check_gguf_config(config); }
  Placed choose(const SiteShape& site, const WeightForm& asked) const override {
    if (!asked.scheme || !type_ || is_plain(*type_)) return keep(site, asked);
    Encoding type = *type_;
    while (bits_of(type) < asked.scheme->bits && next_wider(type)) type = *next_wider(type);
    Placed placed{asked, ""};
    const auto refused = [&](std::string_view taken) {
      placed.note = fmt::format("{} does not divide {} columns: {} instead of {}", block_size(type).elements,
                                asked.cols, taken, encoding_name(type));
    };
    const Encoding small = divides(type, asked.cols) ? type : small_block(type);
    if (!divides(small, asked.cols)) {
      refused("F16");
      placed.form.scheme.reset();
      placed.form.dtype = DType::f16;
      return placed;
    }
    if (small != type) refused(encoding_name(small));
    placed.form.scheme = block_scheme(small);
    return placed;
  }

  Placed keep(const SiteShape&, const WeightForm& have) const override {
    Placed placed{have, ""};
    if (type_ && is_plain(*type_)) {
      placed.form.scheme.reset();
      placed.form.dtype = plain_dtype(*type_);
      return placed;
    }
    if (!have.scheme) return placed;
    if (const auto type = holder(have, false)) {
      placed.form.scheme = block_scheme(*type);
      return placed;
    }
    const auto type = holder(have, true);
    if (!type)
      throw Error(fmt::format("{}, which no GGUF type holds", form_text(have)))
          .set_hint("quantize with --for gguf:q4_0 and the like, or add --round to choose its codes anew");
    placed.form.scheme = block_scheme(*type);
    placed.note = fmt::format("{} stores scales and offsets in f16", encoding_name(*type));
    return placed;
  }

  int64_t bytes(const WeightForm& form) const override { return stored_bytes(form); }
  int64_t beside_bytes(const ModelConfig& config, const Tokenizer& tokenizer) const override {
    return tokenizer_bytes(tokenizer.data(), config.vocab) + vector_bytes(config, kAlignment) +
           tensor_count(config) * kHeaderBytes + kProvenanceBytes;
  }

  int64_t write(const CodedModel& model, const std::string& path,
                OutputFile::Existing existing) const override {
    return export_gguf(model, path, existing);
  }
  std::vector<std::string> notes(const CodedModel& model) const override {
    std::vector<std::string> notes = gguf_notes(model);
    for (std::string& note : foreign_notes(model)) notes.push_back(std::move(note));
    return notes;
  }

 private:
  bool holds(Encoding type, const WeightForm& have, bool rounding) const {
    const QuantScheme scheme = *block_scheme(type);
    return divides(type, have.cols) && carry_obstacle(*have.scheme, scheme, have.cols).empty() &&
           (rounding || !carry_may_round(*have.scheme, scheme));
  }
  std::optional<Encoding> holder(const WeightForm& have, bool rounding) const {
    if (type_ && holds(*type_, have, rounding)) return type_;
    for (const Encoding type : kBlockTypes)
      if (holds(type, have, rounding)) return type;
    return std::nullopt;
  }

  std::string name_;
  std::optional<Encoding> type_;
};

}  // namespace

std::shared_ptr<const Target> make_gguf_target(std::string_view name) {
  return std::make_shared<GgufTarget>(name);
}

}  // namespace edgeq
