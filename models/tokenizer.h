// SPDX-License-Identifier: Apache-2.0
// Text <-> token ids, equal to the Python `tokenizers` and `sentencepiece` packages on any bytes. Two
// algorithms: byte-level BPE (GPT-2, Llama-3, SmolLM2, Qwen) and SentencePiece BPE with byte fallback
// (Llama-2, Mistral).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/token.h"

namespace edgeq {

class GgufFile;
struct TokenizerData;

enum class SpecialTokens : uint8_t {
  plain,  // text like "<|im_end|>" is encoded as ordinary characters
  parse,  // the spelling of a special token becomes that token
};

struct ChatMessage {
  std::string role, content;  // "system" | "user" | "assistant"
};

class Tokenizer {
 public:
  // A Hugging Face folder: tokenizer.json (with tokenizer_config.json beside it when present), else
  // tokenizer.model.
  static Tokenizer from_folder(const std::string& folder);
  static Tokenizer from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json = {});
  static Tokenizer from_sentencepiece(std::span<const std::byte> model);
  static Tokenizer from_gguf(const GgufFile& file);
  static Tokenizer deserialize(std::span<const std::byte> bytes);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // No BOS or EOS is added. Invalid UTF-8 is treated as the reference package treats it (U+FFFD per maximal
  // bad part).
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special = SpecialTokens::parse) const;
  // Bytes of the tokens in order; special tokens are left out unless asked for. May end inside a UTF-8
  // character.
  std::string decode(std::span<const TokenId> tokens, SpecialTokens special = SpecialTokens::plain) const;
  // Bytes of one token as they continue a text (no SentencePiece leading-space removal): for streaming.
  std::string piece(TokenId token) const;

  int64_t vocab_size() const;
  std::optional<TokenId> bos() const;
  // Tokens that end a generation (eos, end of turn).
  const std::vector<TokenId>& end_tokens() const;
  bool adds_bos() const;                     // the model expects BOS at the start of a prompt
  const std::string& chat_template() const;  // Jinja text from the checkpoint, "" when none
  // The prompt of a conversation, with the turn of the assistant opened: what the template in chat_template()
  // renders to in the reference package (ChatML, Llama-2, Llama-3, Mistral, Zephyr, Qwen and others). Throws
  // Error when there is no template, when it uses something that is not supported (models/chat_template.h),
  // or when it refuses the messages.
  std::string apply_chat_template(std::span<const ChatMessage> messages) const;

  // A compact own form for the packed file.
  std::vector<std::byte> serialize() const;
  // Of what turns text into ids: tokenizers of one hash give the same ids. What the model or a reader does
  // around that (chat template, BOS, end tokens, decoding) is not part of it.
  std::string hash() const;
  // The vocabulary and the rules as they were read, for exports (models/tokenizer_data.h).
  const TokenizerData& data() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace edgeq
