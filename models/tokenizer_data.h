// SPDX-License-Identifier: Apache-2.0
// What a tokenizer is, as data: the vocabulary and the steps of its pipeline, whatever file they came from.
//
//   text -> added tokens cut out -> normalize -> pre-tokenize -> merge each piece -> ids
//
// The readers (tokenizer.json, tokenizer.model, GGUF) fill it, the engine runs it, serialize() writes it and
// the exports read it. All text is UTF-8 as stored in the file: byte-level vocabularies keep their alphabet
// ("Ġthe"), SentencePiece ones their meta symbol ("▁the").
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/token.h"

namespace edgeq {

enum class TokenizerKind : uint8_t {
  bpe,  // pairs merge in the order of a list (GPT-2, Llama-3, Llama-2's tokenizer.json); GGUF "gpt2"
  spm,  // pairs merge by the score of what they make (SentencePiece BPE); GGUF "llama"
};

// Numbered as in GGUF's tokenizer.ggml.token_type and in SentencePiece.
enum class TokenType : uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

struct MergePair {
  TokenId left = 0, right = 0;  // they make the token spelt as the two together
};

// A token that is found in the text before the merges run. Its spelling is tokens[id].
struct AddedToken {
  TokenId id = 0;
  bool special = false;     // left out when decoding; found only when special spellings are parsed
  bool normalized = false;  // searched for in the normalized text, not in the raw one
  bool lstrip = false, rstrip = false;  // takes the white space before / after it
  bool single_word = false;             // only where no word character touches it
  bool in_model = true;                 // also a piece of the model's own vocabulary
};

struct TextPattern {
  std::string text;
  bool is_regex = false;  // in Oniguruma's syntax, as tokenizer.json writes it
  friend bool operator==(const TextPattern&, const TextPattern&) = default;
};

struct NormalizeStep {
  enum class Kind : uint8_t {
    nfc,
    prepend,        // `content`, unless the text is empty
    replace,        // every match of `pattern` by `content`
    sentencepiece,  // the four fields below, as SentencePiece's own normalizer
  };
  Kind kind = Kind::nfc;
  TextPattern pattern;
  std::string content;
  std::string charsmap;  // precompiled_charsmap: a Darts trie and its replacements; "" = identity
  bool add_dummy_prefix = false, remove_extra_whitespaces = false, escape_whitespaces = false;
  friend bool operator==(const NormalizeStep&, const NormalizeStep&) = default;
};

enum class SplitBehavior : uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct PreTokenizeStep {
  enum class Kind : uint8_t {
    split,     // at the matches of `pattern`
    replace,   // `pattern` (a literal) by `content`
    prepend,   // `content`, unless the piece starts with it
    alphabet,  // every byte by its letter of the byte-level alphabet
  };
  Kind kind = Kind::split;
  TextPattern pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // split: what lies between the matches counts as the match
  std::string content;
  bool first_only = false;  // prepend: only to the piece at the start of the text
  friend bool operator==(const PreTokenizeStep&, const PreTokenizeStep&) = default;
};

// From tokens back to text.
struct DecodeRules {
  bool byte_level = false;     // letters of the byte-level alphabet stand for bytes
  bool byte_fallback = false;  // "<0x0A>" stands for a byte
  struct Replacement {
    std::string from, to;
  };
  std::vector<Replacement> replacements;    // in every token, in order
  int32_t strip_leading_spaces = 0;         // at most so many from the start of the text, one from each token
  bool drop_spaces_of_first_token = false;  // all of them, as the Metaspace decoder does
};

struct TokenizerData {
  TokenizerKind kind = TokenizerKind::bpe;
  std::vector<std::string> tokens;  // by id; "" for an id that nothing uses
  std::vector<TokenType> types;     // as many as tokens
  std::vector<float> scores;        // spm: as many as tokens; bpe: none
  std::vector<MergePair> merges;    // bpe: in order of rank; spm: none
  std::vector<AddedToken> added;    // ascending ids

  std::vector<NormalizeStep> normalize;
  std::vector<PreTokenizeStep> pre_tokenize;
  std::string pre_name;  // GGUF's name of the pre-tokenizer ("llama-bpe"), "" when none is known
  DecodeRules decode;

  bool byte_fallback = false;  // characters outside the vocabulary become byte tokens
  bool fuse_unknown = false;   // a run of unknown characters is one token
  bool ignore_merges = false;  // a piece that is a token is taken whole
  std::optional<TokenId> unknown, bos, eos, padding;
  std::vector<TokenId> end_tokens;  // ascending
  bool adds_bos = false;
  std::string chat_template;  // Jinja
};

// "left right", as GGUF's tokenizer.ggml.merges holds them.
std::vector<std::string> merge_texts(const TokenizerData& data);

// Throws Error when an id is out of range, a table has the wrong length or a merge makes no token: whatever
// file the data came from, the engine relies on it.
void check_tokenizer(const TokenizerData& data);

// The readers behind Tokenizer::from_*; each returns checked data.
TokenizerData read_tokenizer_folder(const std::string& folder);
TokenizerData read_tokenizer_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json);
TokenizerData read_sentencepiece(std::span<const std::byte> model);
class GgufFile;
TokenizerData read_tokenizer_gguf(const GgufFile& file);

// tokenizer_config.json beside a tokenizer: bos, eos, added tokens, chat template. "" changes nothing.
void apply_tokenizer_config(TokenizerData& data, std::string_view tokenizer_config_json);
// eos_token_id of generation_config.json, a number or a list. "" changes nothing.
void apply_generation_config(TokenizerData& data, std::string_view generation_config_json);
// Adds an end token, in order and once.
void add_end_token(TokenizerData& data, TokenId token);
// Adds eos and the special tokens known to end a turn ("<|im_end|>", "<|eot_id|>", ...).
void add_known_end_tokens(TokenizerData& data);

// The expression and the steps of GPT-2's byte-level pre-tokenizer.
inline constexpr std::string_view kGpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
PreTokenizeStep split_step(std::string_view expression, SplitBehavior behavior = SplitBehavior::isolated);
PreTokenizeStep alphabet_step();

// The pre-tokenizer steps of a GGUF name; an Error lists the known names.
struct GgufPreTokenizer {
  std::vector<NormalizeStep> normalize;
  std::vector<PreTokenizeStep> pre_tokenize;
  bool ignore_merges = false, adds_bos = false;
};
GgufPreTokenizer gguf_pre_tokenizer(std::string_view name);
// The name whose steps these are; "" when there is none.
std::string gguf_pre_name(const TokenizerData& data);

std::vector<std::byte> serialize_tokenizer(const TokenizerData& data);
TokenizerData deserialize_tokenizer(std::span<const std::byte> bytes);

}  // namespace edgeq
